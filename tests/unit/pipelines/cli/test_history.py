"""`luthier runs` and `luthier show`: what a person sees, what a machine sees, and what a terminal must not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.tracking.runs import Curve
from tests import registered
from tests.artifacts import place
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]


def test_runs_shows_versions_newest_first_with_scores_before_and_after(
    luthier: Luthier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("runs") == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if NAME in row]
    assert [row.split()[0] for row in rows] == [f"{NAME}/2", f"{NAME}/1"]
    assert "@candidate" in rows[0]
    assert "tiny-base" in rows[0]
    assert "qlora" in rows[0]
    assert "exact_match 0 → 0.75" in rows[0]
    assert [row.split()[-1] for row in rows] == ["promote", "hold"]


def test_runs_for_a_machine(luthier: Luthier, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("runs", "--json", "--limit", "1") == 0
    (told,) = json.loads(capsys.readouterr().out)["versions"]
    assert (told["name"], told["version"], told["aliases"]) == (NAME, 2, ["candidate"])
    assert told["scores"] == {"echo": {"exact_match": {"base": 0.0, "tuned": 0.75}}}


def test_runs_where_nothing_is(
    luthier: Luthier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    assert luthier("runs") == 0
    assert "luthier run quickstart" in capsys.readouterr().out
    assert not (tmp_path / "mlflow.db").exists()


def test_trainings_that_became_no_version_are_listed_and_shown(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    curve = Curve(own.on.tracking_uri, "abcdef01" * 8, {"method": "lora", "learning_rate": "3e-4"})
    curve.log(7, {"loss": 0.25})
    curve.close("FAILED")
    assert luthier("runs") == 0
    (row,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("train-")]
    assert "failed" in row
    assert "0.25" in row
    assert luthier("show", "train-abcdef01") == 0
    shown = capsys.readouterr().out
    assert "loss" in shown
    assert "learning_rate: 3e-4" in shown
    assert "nothing of it is in the store" in shown


def test_show_tells_everything_about_a_version(
    luthier: Luthier, tiny_tickets: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("show", f"{NAME}@candidate") == 0
    shown = capsys.readouterr().out
    for words in (
        f"{NAME} version 2",
        "candidate",
        "promote",
        "train_rows",
        "greedy_match",
        "max_steps: 6",
        "see above",
    ):
        assert words in shown
    for receipt in tiny_tickets.inputs.values():
        assert receipt.uri in shown
    assert "GONE" not in shown


def test_show_for_a_machine_has_the_lineage(luthier: Luthier, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("show", NAME, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"] == [["echo", "exact_match", 0.0, 0.75]]
    assert told["recipe"]["train"] == {"max_steps": 6, "seed": 42}
    stages = {node["role"]: node for node in told["lineage"]}
    assert stages["model"]["stage"] == "merging"
    assert stages["weights"]["bytes"] > 100_000
    assert {node["state"] for node in told["lineage"]} == {"whole", "told above"}


def test_show_says_what_is_gone(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    own.on.store.objects.delete(place(own.on.store, own.inputs["model"], "model/model.safetensors"))
    assert luthier("show", NAME) == 0
    assert "model: merging" in (shown := capsys.readouterr().out)
    assert "GONE" in shown


def test_what_others_wrote_cannot_steer_the_terminal(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    own.client.set_model_version_tag(NAME, "1", "luthier.base", "\x1b]0;owned\x07[red]base\u202e")
    for arguments in (["runs"], ["show", NAME], ["show", "x\x1b[2J"], ["runs", "--json"]):
        luthier(*arguments)
        captured = capsys.readouterr()
        assert not {"\x1b", "\x07", "\u202e"} & set(captured.out + captured.err)
        assert arguments != ["runs"] or "]0;owned[red]base" in captured.out


@pytest.mark.parametrize("key", ["../../etc/passwd", "f" * 64, ""])
def test_a_registration_that_leads_nowhere_costs_only_what_it_would_tell(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    use(own)
    own.client.set_model_version_tag(NAME, "1", "luthier.registration", key)
    assert luthier("runs") == 0
    assert f"{NAME}/1" in capsys.readouterr().out
    assert luthier("show", NAME) == 0
    assert "model: merging" in capsys.readouterr().out


def test_a_registration_of_another_model_is_not_believed(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    own.inputs["model"] = registered.again(own)
    own.register()
    other = own.client.get_model_version(NAME, "2").tags["luthier.registration"]
    own.client.set_model_version_tag(NAME, "1", "luthier.registration", other)
    assert luthier("runs", "--json") == 0
    told = {one["version"]: one["scores"] for one in json.loads(capsys.readouterr().out)["versions"]}
    assert told[1] == {}
    assert told[2]
