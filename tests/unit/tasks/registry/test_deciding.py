"""A decision is carried out once, by the rule of every promotion, and what was decided before is found and left as it is."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Corrupt, Refused, Unreachable
from infra.tracking.versions import INCUMBENT
from tasks.registry import deciding, stage
from tasks.registry.config import DecisionConfig, RegisterConfig
from tasks.registry.standing import Standing
from tests import jobs
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy


@pytest.fixture
def made(both: Registered, tmp_path: Path) -> Registered:
    """The same for one test alone."""
    shutil.copytree(both.on.home, tmp_path / "home")
    return Registered(jobs.platform(tmp_path / "home"), both.room, both.inputs)


def decide(made: Registered, act: Any = "look", version: int = 2, verdict: str = "v", why: str = "") -> Standing:
    """As the worker does."""
    config = DecisionConfig(name=NAME, version=version, verdict=verdict, act=act, who="Ada", why=why)
    return Standing.model_validate(deciding.work(jobs.job(made.on, "decision", config, {})))


def aliases(made: Registered) -> dict[str, str]:
    found = made.client.get_registered_model(NAME).aliases
    return {alias: str(number) for alias, number in found.items() if alias != "candidate"}


def tags(made: Registered, version: int = 2) -> dict[str, str]:
    return dict(made.client.get_model_version(NAME, str(version)).tags)


def test_what_is_approved_goes_into_production_once_and_is_signed(made: Registered) -> None:
    assert decide(made) == Standing()
    first = decide(made, "approve", why="fewer complaints")
    assert (first.state, first.before, first.by) == ("promoted", None, "Ada")
    assert aliases(made) == {"champion": "2"}
    signed = tags(made)
    assert signed["luthier.promoted_by"] == "Ada"
    assert signed["luthier.promoted_why"] == "gate: promote; fewer complaints"
    known = stage.last_known(RegisterConfig(name=NAME), None, made.on.store).champion
    assert known is not None
    assert known.version == f"{NAME}/2"

    again = decide(made, "approve", why="another's reason")
    assert (again.state, again.by, again.at) == ("in production", "Ada", signed["luthier.promoted_at"])
    assert decide(made, "refuse").state == "in production", "what is there is taken back by a rollback"
    assert tags(made) == signed


def test_what_is_refused_stays_out_is_signed_and_not_asked_about_under_the_same_verdict(made: Registered) -> None:
    first = decide(made, "refuse", why="it rhymes")
    assert (first.state, first.by, first.why) == ("refused", "Ada", "it rhymes")
    signed = tags(made)
    assert [signed[f"luthier.refused_{what}"] for what in ("by", "why", "verdict")] == ["Ada", "it rhymes", "v"]
    assert aliases(made) == {}
    assert decide(made) == decide(made, "refuse", why="another's reason") == first
    assert tags(made) == signed
    assert decide(made, verdict="compared with another").state is None
    assert decide(made, "approve").state == "promoted", "another run's form may still have been open"


def test_the_rule_of_every_promotion_holds(made: Registered) -> None:
    with pytest.raises(Refused, match="has not passed its gate"):
        decide(made, "approve", version=1)
    made.client.set_registered_model_alias(NAME, "champion", "1")
    assert "not beside what is in production now" in decide(made).hindrance
    with pytest.raises(Refused, match="not beside what is in production now"):
        decide(made, "approve")
    assert aliases(made) == {"champion": "1"}
    assert "luthier.promoted_by" not in tags(made)
    made.client.set_model_version_tag(NAME, "2", INCUMBENT, tags(made, 1)["luthier.content_sha256"])
    assert decide(made, "approve").before == 1
    assert aliases(made) == {"champion": "2", "previous": "1"}


def test_whoever_decides_is_told_that_it_was_taken_back(made: Registered) -> None:
    for name, value in (("by", "Bob"), ("at", "2026-11-25"), ("why", "it rhymed")):
        made.client.set_model_version_tag(NAME, "2", f"luthier.rolled_back_{name}", value)
    assert decide(made).note == "taken back 2026-11-25 by Bob: it rhymed"


def test_where_mlflow_or_the_model_is_gone_nothing_moves(made: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(made, on=replace(made.on, tracking_uri="http://127.0.0.1:9"))
    with pytest.raises(Unreachable, match="does not answer"):
        decide(away, "approve")
    shutil.rmtree(made.on.home / "store" / "stages" / "merging" / made.inputs["model"].key)
    with pytest.raises(Corrupt, match="not in the store"):
        decide(made, "approve")
    assert aliases(made) == {}
