"""What `luthier data diff` says, and how it finds the datasets that are meant."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.errors import BadRecipe, Refused
from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from pipelines.cli import data, datasets, diff
from tasks.data.changes import Amounts, Changes, Example, SourceDrift
from tasks.data.preview import Part, Shown
from tests import jobs

if TYPE_CHECKING:
    from tests.registered import Registered

Commit = Callable[..., Receipt]

OLD = Shown(place="rows.jsonl:1", parts=(Part(text="q\x1b[31m ", weight=0.1), Part(text="old", weight=1, learned=True)))
NEW = Shown(place="rows.jsonl:2", parts=(Part(text="q ", weight=0.1), Part(text="new", weight=1, learned=True)))
AMOUNTS = Amounts(rows=10, held_out=1, tokens=1000, learned_share=0.25, quantiles={"0.5": 90, "1": 200})
CHANGES = Changes(
    before=AMOUNTS,
    after=AMOUNTS.model_copy(update={"rows": 12, "quantiles": {"0.5": 95, "1": 250}}),
    same=9,
    added=2,
    removed=0,
    changed=1,
    now_held_out=1,
    now_trained_on=0,
    distance=0.3,
    by_chance=0.1,
    sources=(SourceDrift(name="rows.jsonl", rows=(10, 12), share=(1, 1)),),
    settings={"max_length": (512, 1024)},
    one_tokenizer=True,
    examples={"changed": (Example(before=OLD, after=NEW),), "added": (Example(after=NEW),), "removed": ()},
)


def test_the_changes_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    diff._tell(CHANGES)
    told = capsys.readouterr().out
    for said in (
        "9 rows are the same; 1 changed, 0 left, 2 came",
        "of the same, 1 are held out now",
        "rows to train on 10     12",
        "(Kolmogorov-Smirnov): 0.300, more than chance explains (0.100)",
        "max_length  512 → 1024",
        "~ rows.jsonl:1 → rows.jsonl:2\n  − q[31m ⟦old⟧\n  + q ⟦new⟧\n",
        "+ rows.jsonl:2\n  + q ⟦new⟧\n",
    ):
        assert said in told
    assert "Rows that left" not in told


def test_a_rejected_answer_is_told_from_the_chosen_one(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = Part(text="worse", weight=1, learned=True, rejected=True)
    row = Example(after=NEW.model_copy(update={"parts": (*NEW.parts, wrong)}))
    diff._tell(CHANGES.model_copy(update={"examples": {"added": (row,)}}))
    assert "  + q ⟦new⟧ ⟦-worse-⟧\n" in capsys.readouterr().out


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    for name in ("LUTHIER_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return Settings(home=tmp_path / "home", store="").platform()


@pytest.fixture
def committed(platform: Platform, tmp_path: Path) -> Commit:
    """Commits files with these texts as a dataset under a key."""

    def of(key: str, files: dict[str, str] | None = None) -> Receipt:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        for name, text in (files or {"report.json": "{}"}).items():
            (folder / name).write_text(text)
        return jobs.keep(platform, "data", folder, key=key)

    return of


@pytest.mark.parametrize(
    "written", ["abc12345", "data/abc12345", f"file:///x/stages/data/abc12345{'0' * 56}/a/report.html"]
)
def test_a_dataset_is_found_by_the_start_of_its_key(written: str, committed: Commit) -> None:
    one = committed("abc12345" + "0" * 56)
    committed("abc12346" + "0" * 56)
    assert datasets.find(written) == one


def test_a_start_of_two_keys_or_of_none_is_refused(committed: Commit) -> None:
    committed("abc12345" + "0" * 56)
    committed("abc12345" + "1" * 56)
    with pytest.raises(Refused, match="several datasets"):
        datasets.find("abc12345")
    with pytest.raises(Refused, match="no dataset has such a key"):
        datasets.find("def45678")


def test_a_recipe_that_is_not_there_is_no_version(platform: Platform) -> None:
    with pytest.raises(BadRecipe, match="no such recipe"):
        datasets.find("nowhere.yaml")


@pytest.mark.usefixtures("platform")
def test_a_recipe_whose_data_is_not_made_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    (tmp_path / "base").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "base" / name).write_text("{}")
    (tmp_path / "mine.yaml").write_text(
        "base: {model_name_or_path: base}\n"
        "data: {train_files: [rows.jsonl]}\n"
        "train: {tuning: {method: lora, lora_r: 4, lora_alpha: 8}, num_train_epochs: 1}\n"
        "evaluate: {tasks: [x]}\n"
        "gate: {bars: [{task: x, metric: m, min_gain: 0.1}]}\n"
        "register: {name: mine}\n"
    )
    with pytest.raises(Refused, match="not made yet") as caught:
        datasets.find(str(tmp_path / "mine.yaml"))
    assert f"`luthier run {tmp_path / 'mine.yaml'}`" in caught.value.remedy


def test_the_page_about_a_dataset_is_fetched(
    platform: Platform, committed: Commit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    committed("abc12345" + "0" * 56, {"report.html": "<!doctype html>"})
    data.report("abc12345", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "<!doctype html>"
    assert str(tmp_path / "page.html") in capsys.readouterr().out


@pytest.mark.heavy
def test_a_version_names_its_dataset(tiny_tickets: Registered, use: Callable[[Registered], None]) -> None:
    use(tiny_tickets)
    found = datasets.find("tiny-tickets@candidate")
    assert found.stage == "data"
    assert datasets.find("tiny-tickets/2") == found
