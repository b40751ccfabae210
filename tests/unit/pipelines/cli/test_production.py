"""`luthier promote`, `rollback`, `versions`: what may move the champion, what is kept of it, and hands that were there before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.registry import stage as registry
from tasks.registry.config import RegisterConfig

if TYPE_CHECKING:
    from tests.registered import Registered
    from tests.unit.pipelines.cli.conftest import Luthier

pytestmark = pytest.mark.heavy
NAME = "tiny-tickets"


@pytest.fixture
def made(tiny_tickets: Registered, tmp_path: Path, use: Callable[[Registered], None], luthier: Luthier) -> Registered:
    """Version 1 held, version 2 promoted to candidate, for this test alone; the command finds it."""
    from tests import jobs, registered  # noqa: PLC0415 - MLflow takes seconds

    shutil.copytree(tiny_tickets.on.home, tmp_path / "home")
    copy = registered.Registered(jobs.platform(tmp_path / "home"), tiny_tickets.room, dict(tiny_tickets.inputs))
    use(copy)
    return copy


def aliases(made: Registered) -> dict[str, str]:
    found = made.client.get_registered_model(NAME).aliases
    return {alias: str(number) for alias, number in found.items() if alias != "candidate"}


def test_what_passed_its_gate_goes_into_production_and_what_was_there_can_return(
    made: Registered, luthier: Luthier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("promote", f"{NAME}/2") == 0
    assert aliases(made) == {"champion": "2"}
    tags = made.client.get_model_version(NAME, "2").tags
    assert tags["luthier.promoted_why"] == "gate: promote"
    assert tags["luthier.promoted_by"]
    assert luthier("promote", f"{NAME}/2") == 0
    assert "in production already" in capsys.readouterr().out
    assert luthier("explain", f"{NAME}/2") == 0
    assert f"@champion, set by {tags['luthier.promoted_by']}, " in capsys.readouterr().out

    assert luthier("promote", f"{NAME}/1", "--override", "the press asked for it") == 0
    assert aliases(made) == {"champion": "1", "previous": "2"}
    assert luthier("rollback", NAME, "--reason", "it answered in rhymes") == 0
    assert aliases(made) == {"champion": "2", "previous": "1"}
    capsys.readouterr()
    remembered = registry.last_known(RegisterConfig(name=NAME), None, made.on.store)
    assert remembered.champion is not None
    assert remembered.previous is not None
    assert (remembered.champion.version, remembered.previous.version) == (f"{NAME}/2", f"{NAME}/1")
    assert luthier("versions", NAME, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["champion"], told["by_hand"]) == (2, False)
    (first,) = (one for one in told["versions"] if one["version"] == 1)
    assert first["promoted_why"] == "override: the press asked for it"
    assert first["rolled_back_why"] == "it answered in rhymes"
    assert luthier("versions", NAME) == 0
    assert "override: the press asked for it; taken back" in capsys.readouterr().out
    assert luthier("rollback", NAME) == 0
    assert aliases(made) == {"champion": "1", "previous": "2"}, "twice is as before"


def test_what_was_held_or_compared_with_another_is_refused_and_nothing_moves(
    made: Registered, luthier: Luthier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("promote", f"{NAME}/1") == 2
    assert "has not passed its gate" in capsys.readouterr().err
    made.client.set_registered_model_alias(NAME, "champion", "1")
    assert luthier("promote", f"{NAME}/2") == 2
    said = capsys.readouterr().err
    assert "not beside what is in production now" in said
    assert "set by hand (not by Luthier); that is respected" in said
    assert aliases(made) == {"champion": "1"}
    content = made.client.get_model_version(NAME, "1").tags["luthier.content_sha256"]
    made.client.set_model_version_tag(NAME, "2", "luthier.incumbent_sha256", content)
    assert luthier("promote", f"{NAME}/2") == 0
    assert aliases(made) == {"champion": "2", "previous": "1"}


def test_without_a_previous_one_or_its_model_there_is_no_way_back(
    made: Registered, luthier: Luthier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("rollback", NAME) == 2
    assert "champion none, previous none" in capsys.readouterr().err
    made.client.set_registered_model_alias(NAME, "champion", "1")
    made.client.set_registered_model_alias(NAME, "previous", "2")
    shutil.rmtree(made.on.home / "store" / "stages" / "merging" / made.inputs["model"].key)
    assert luthier("rollback", NAME) == 2
    assert "not in the store" in capsys.readouterr().err
    assert aliases(made) == {"champion": "1", "previous": "2"}
    assert luthier("promote", f"{NAME}/2", "--override", "it is the better one") == 2, "no server could load it"


def test_a_model_that_is_not_there_is_told_with_what_is(luthier: Luthier, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("versions", "nobody") == 2
    assert f"there is: {NAME}/" in capsys.readouterr().err
    for verb in ("versions", "rollback"):
        assert luthier(verb, f"{NAME}/2") == 2
        assert "no name of a model" in capsys.readouterr().err
