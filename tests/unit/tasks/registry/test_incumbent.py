"""The version in production is looked up with its model; one that cannot be had is told, and never passed over."""

import shutil
from pathlib import Path

import pytest

from infra.errors import Corrupt, Refused
from infra.tracking import database
from infra.tracking.lookup import Lookup
from infra.tracking.production import MOVED, production
from infra.tracking.versions import INCUMBENT
from tasks.registry import incumbent, stage, worker
from tasks.registry.config import ProductionConfig, RegisterConfig
from tasks.registry.promotion import BACK_AT, REFUSED_AT, VERDICT
from tasks.registry.rivals import Judged, Rivals
from tests import jobs
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

CONFIG = RegisterConfig(name=NAME)


@pytest.fixture
def made(both: Registered, tmp_path: Path) -> Registered:
    """The same for one test alone."""
    shutil.copytree(both.on.home, tmp_path / "home")
    on, room = jobs.platform(tmp_path / "home"), tmp_path / "room"
    room.mkdir()
    moved = on.store.manifest(both.inputs["model"])
    return Registered(on, room, both.inputs | {"model": on.store.receipt(moved)})


def look(made: Registered, version: str | None = None) -> Rivals:
    """As the worker does, committed as its stage does."""
    step = stage.incumbent_step(CONFIG, version)
    job = jobs.job(made.on, step.stage, ProductionConfig(name=NAME, version=version), {}, step.key)
    summary = incumbent.work(job)
    jobs.keep(made.on, step.stage, job.out, summary, key=step.key)
    return Rivals.model_validate(summary)


def test_the_champion_comes_with_its_model_and_the_one_before_it(made: Registered) -> None:
    made.client.set_registered_model_alias(NAME, "champion", "2")
    made.client.set_registered_model_alias(NAME, "previous", "1")
    found = look(made)
    assert found.champion is not None
    assert found.previous is not None
    assert (found.champion.version, found.previous.version) == (f"{NAME}/2", f"{NAME}/1")
    assert found.champion.model == made.inputs["model"]
    assert found.champion.tokenizer.stage == "tokenizer"
    assert stage.last_known(CONFIG, None, made.on.store) == found
    assert found.beside(made.inputs["scores"]) == found.champion
    assert found.beside(made.inputs["model"]) == found.previous, "a model is not compared with itself"


@pytest.mark.parametrize(
    ("tags", "how"),
    [
        ({}, "held"),
        ({VERDICT: "undecided"}, "undecided"),
        ({VERDICT: "promote", REFUSED_AT: "yesterday"}, "refused"),
        ({VERDICT: "promote", BACK_AT: "yesterday"}, "taken back"),
        ({VERDICT: "promote"}, None),
        ({INCUMBENT: "another"}, None),
    ],
)
def test_versions_that_were_turned_down_beside_the_champion_are_known(
    made: Registered, tags: dict[str, str], how: str | None
) -> None:
    made.client.set_registered_model_alias(NAME, "champion", "2")
    content = made.inputs["model"].content_sha256
    for tag, value in ({INCUMBENT: content} | tags).items():
        made.client.set_model_version_tag(NAME, "1", tag, value)
    one = Lookup(made.on.tracking_uri).version(f"{NAME}/1")
    known = [] if how is None else [Judged(version=f"{NAME}/1", registration=one.registration, outcome=how)]
    assert list(look(made).turned_down) == known
    assert made.on.store.newest("registry", one.registration) is not None


def test_a_version_may_be_named_and_none_is_nobody(made: Registered) -> None:
    made.client.set_registered_model_alias(NAME, "champion", "2")
    named = look(made, f"{NAME}/1")
    assert named.champion is not None
    assert named.champion.version == f"{NAME}/1"
    assert stage.last_known(CONFIG, None, made.on.store) == Rivals(), "what is named is not what is in production"
    assert stage.incumbent(CONFIG, "none", made.on) == Rivals()
    with pytest.raises(Refused, match="no such version"):
        look(made, f"{NAME}/9")


def test_where_there_was_never_a_champion_no_worker_is_started(made: Registered) -> None:
    assert look(made) == Rivals()
    shutil.rmtree(made.on.home / "store" / "stages" / "incumbent")
    assert stage.incumbent(CONFIG, None, made.on) == Rivals()
    assert not (made.on.home / "store" / "jobs" / "incumbent").exists()
    assert not database.lacks_alias(made.on.tracking_uri, NAME, "candidate")
    assert database.lacks_alias(f"sqlite:///{made.room}/none.db", NAME, "champion")
    (made.room / "torn.db").write_text("no database")
    assert not database.lacks_alias(f"sqlite:///{made.room}/torn.db", NAME, "champion"), "then MLflow is asked"
    assert not database.lacks_alias("http://mlflow:5000", NAME, "champion")


def test_what_mlflow_is_seen_to_have_is_not_registered_again(made: Registered) -> None:
    inputs = [made.inputs[role] for role in ("model", "verdict", "scores", "baseline", "adapter", "dataset")]
    wanted, uri = stage.step(CONFIG, *inputs), made.on.tracking_uri
    job = jobs.job(made.on, wanted.stage, CONFIG, wanted.inputs, wanted.key)
    registration = jobs.keep(made.on, wanted.stage, job.out, worker.work(job), made.inputs, key=wanted.key)
    number, tags = int(str(registration.summary["version"])), {database.REGISTRATION: wanted.key}
    assert stage.run(CONFIG, *inputs, made.on) == registration
    assert not (made.on.home / "store" / "jobs" / "registry").exists(), "no worker was started"
    assert database.holds(uri, NAME, number, tags, "candidate")
    assert not database.holds(uri, NAME, number, {database.REGISTRATION: "of another"}, "candidate")
    assert not database.holds(uri, NAME, number + 1, tags, None)
    assert not database.holds(f"sqlite:///{made.room}/none.db", NAME, number, tags, None)
    assert not database.holds("http://mlflow:5000", NAME, number, tags, None), "then MLflow is asked"
    made.client.set_registered_model_alias(NAME, "candidate", "1")
    assert not database.holds(uri, NAME, number, tags, "candidate")
    made.client.delete_model_version(NAME, str(number))
    assert not database.holds(uri, NAME, number, tags, None)


def test_a_champion_whose_model_is_gone_is_told_with_a_way_out(made: Registered) -> None:
    made.client.set_registered_model_alias(NAME, "champion", "2")
    shutil.rmtree(made.on.home / "store" / "stages" / "merging" / made.inputs["model"].key)
    with pytest.raises(Corrupt, match="the version in production cannot be compared with") as told:
        look(made)
    assert told.value.value == f"{NAME}/2"
    assert "--set gate.incumbent.version=none" in told.value.remedy


def test_a_champion_that_others_registered_is_told(made: Registered) -> None:
    made.client.create_model_version(NAME, "file:///elsewhere")
    made.client.set_registered_model_alias(NAME, "champion", "3")
    with pytest.raises(Refused, match="not registered by Luthier"):
        look(made)


@pytest.mark.parametrize("how", ["alias", "version", "wiped"])
def test_a_champion_that_was_there_and_is_not_any_more_is_told(made: Registered, how: str) -> None:
    made.client.set_registered_model_alias(NAME, "champion", "2")
    look(made)
    if how == "alias":
        made.client.delete_registered_model_alias(NAME, "champion")
    elif how == "version":
        made.client.delete_model_version(NAME, "2")
    else:
        made.client.delete_registered_model(NAME)
    with pytest.raises(Refused, match="there was a version in production") as told:
        look(made)
    assert told.value.value == f"{NAME}/2"


def test_an_alias_that_was_moved_by_hand_is_noticed_and_respected(made: Registered) -> None:
    made.client.set_registered_model_tag(NAME, MOVED, "1")
    made.client.set_registered_model_alias(NAME, "champion", "2")
    now = production(Lookup(made.on.tracking_uri), NAME)
    assert now.by_hand
    found = look(made).champion
    assert found is not None
    assert found.version == f"{NAME}/2"
    made.client.set_registered_model_tag(NAME, MOVED, "2")
    assert not production(Lookup(made.on.tracking_uri), NAME).by_hand
