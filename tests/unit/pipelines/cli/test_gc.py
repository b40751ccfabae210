"""`luthier gc`: tells before it deletes, never without the registry, and what a version needs stays whole."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.storage import layout
from tests import registered
from tests.artifacts import stored
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]
Said = pytest.CaptureFixture[str]


def grown_old(made: Registered) -> None:
    """Everything in the store was written eight days ago."""
    at = time.time() - 8 * 86400
    for path in (made.on.home / "store").rglob("*"):
        os.utime(path, (at, at))


def test_lost_attempts_are_told_and_go_only_on_demand(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    lost = stored(own.on.store, {"file": b"x" * 2000}, "data", "d" * 64)
    file = f"{layout.attempt('data', lost.key, lost.attempt)}/file"
    assert luthier("gc", "--delete") == 0
    assert "0 objects" in capsys.readouterr().out
    grown_old(own)
    assert luthier("gc") == 0
    said = capsys.readouterr()
    assert "not committed" in said.out
    assert "2 kB" in said.out
    assert "--delete" in said.err
    assert own.on.store.objects.size(file) == 2000
    assert luthier("gc", "--delete", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["objects"] for one in told["garbage"]] == [1]
    assert (told["deleted"], told["spared"], told["left"]) == (True, [], [])
    assert own.on.store.objects.size(file) is None
    assert luthier("verify", "--all") == 0


@pytest.mark.slow
def test_committed_artifacts_that_no_version_needs_go_only_if_that_is_said(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    older = own.inputs["model"]
    own.inputs["model"] = registered.again(own)
    own.register()
    grown_old(own)
    assert luthier("gc", "--delete") == 0
    assert luthier("gc", "--unreferenced", "--delete") == 0
    capsys.readouterr()
    assert own.on.store.find("merging", older.key) is not None
    own.client.delete_model_version(NAME, "1")
    grown_old(own)
    assert luthier("gc", "--delete") == 0
    assert own.on.store.find("merging", older.key) is not None
    assert luthier("gc", "--unreferenced", "--delete") == 0
    assert "no version needs it" in capsys.readouterr().out
    assert own.on.store.find("merging", older.key) is None
    assert luthier("verify", NAME) == 0
    assert luthier("show", NAME) == 0
    assert "GONE" not in capsys.readouterr().out


def test_without_the_registry_of_this_store_nothing_goes(
    own: Registered, luthier: Luthier, use: Use, capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(own)
    grown_old(own)
    before = own.on.store.objects.list("")
    for elsewhere, status in ((f"sqlite:///{tmp_path}/none.db", 2), ("http://127.0.0.1:9", 1)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert luthier("gc", "--unreferenced", "--delete") == status
        assert "MLflow" in capsys.readouterr().err
    assert own.on.store.objects.list("") == before


def test_what_a_record_that_cannot_be_read_needs_is_not_guessed(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    own.on.store.objects.put(layout.manifest("merging", "e" * 64, 1), b"{")
    assert luthier("gc", "--unreferenced") == 2
    assert "luthier verify" in capsys.readouterr().err
    assert luthier("gc") == 0
    assert "left alone" in capsys.readouterr().err


@pytest.mark.parametrize("age", ["0d", "59m", "7", "-1d", "soon"])
def test_an_age_that_reaches_into_what_runs_is_refused(luthier: Luthier, capsys: Said, age: str) -> None:
    assert luthier("gc", f"--older-than={age}") == 2
    assert "--older-than" in capsys.readouterr().err
