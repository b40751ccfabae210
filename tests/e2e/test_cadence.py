"""A model's life: retrained where something is new and only there, with a real MLflow; and the whole demo on a tiny model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from infra.tracking.database import REGISTRATION
from infra.tracking.production import MOVED
from infra.tracking.versions import CONTENT
from pipelines import recipe as recipes
from tests import registered
from tests.demos import cadence, material
from tests.e2e import recipes as tiny
from tests.e2e.commands import ROOT
from tests.unit.pipelines.test_again import walked

NAME = "tiny-tickets"
RETRAIN = """
import json, sys
from pipelines.retrain import retrain
state = retrain(sys.argv[1], return_state=True)
print(json.dumps({"type": state.type.value, "name": state.name, "message": state.message}))
"""


def started(recipe: Path, home: Path, prefect: Path) -> "subprocess.Popen[str]":
    """A retrain in a process of its own, with a Prefect of its own."""
    own = {"LUTHIER_HOME": str(home), "PREFECT_HOME": str(prefect), "HF_HUB_OFFLINE": "1"}
    patient = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}
    left_out = ("PREFECT_", "LUTHIER_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.Popen(
        [sys.executable, "-c", RETRAIN, str(recipe)],
        env=kept | own | patient,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(running: "subprocess.Popen[str]", seconds: float = 900) -> str:
    """All that it said, at its good end."""
    try:
        said, _ = running.communicate(timeout=seconds)
    finally:
        running.kill()
    assert running.returncode == 0, said[-4000:]
    return said


def in_production(on: Platform, model: Receipt, registration: str) -> None:
    """A version of this content as the registry's stage and a promotion leave it."""
    (on.home / "mlflow.db").write_bytes(registered._empty_database())
    client = MlflowClient(on.tracking_uri)
    client.create_registered_model(NAME)
    tags = {CONTENT: model.content_sha256, REGISTRATION: registration}
    client.create_model_version(NAME, model.uri, tags=tags)
    client.set_registered_model_tag(NAME, MOVED, "1")
    client.set_registered_model_alias(NAME, "champion", "1")


@pytest.mark.slow
def test_where_nothing_changed_no_stage_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, home = tiny.write(tmp_path / "project"), tmp_path / "home"
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    on = Settings().platform()
    made = walked(path, on)
    in_production(on, on.store.receipt(made.records["model"]), made.records["version"].key)
    assert recipes.load(str(path)).register_as.name == NAME
    stages = sorted(one.name for one in (home / "store" / "stages").iterdir())
    before = {one: one.stat().st_mtime_ns for one in (home / "store" / "stages").rglob("*")}

    said = ended(started(path, home, tmp_path / "prefect"))
    assert f"Nothing new since {NAME}/1, which is in production" in said
    assert '"name": "NothingNew"' in said
    jobs = sorted(one.name for one in (home / "store" / "jobs").iterdir())
    assert jobs == ["incumbent"], "a worker has looked up what is in production, and no other was started"
    after = {one: one.stat().st_mtime_ns for one in (home / "store" / "stages").rglob("*")}
    assert {one for one in after if before.get(one) != after[one]} <= {
        one for one in after if "incumbent" in one.parts or one == home / "store" / "stages"
    }
    assert [one.name for one in sorted((home / "store" / "stages").iterdir()) if one.name != "incumbent"] == stages


@pytest.mark.timeout(1800)
@pytest.mark.proof
def test_two_retrains_at_once_end_with_one_version(tmp_path: Path) -> None:
    recipe = tiny.write(tmp_path / "project", train={"num_processes": 1, "deepspeed": "none"})
    home = tmp_path / "home"
    both = [started(recipe, home, tmp_path / f"prefect-{number}") for number in range(2)]
    for running in both:
        assert '"type": "COMPLETED"' in ended(running)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert [int(one.version) for one in client.search_model_versions(f"name = '{NAME}'")] == [1]
    aliases = dict(client.get_registered_model(NAME).aliases)
    assert {alias: int(number) for alias, number in aliases.items()} == {"candidate": 1}
    stages = home / "store" / "stages"
    for stage in ("data", "training", "merging", "gate"):
        assert len(list((stages / stage).glob("*/MANIFEST*.json"))) == 1, stage


@pytest.mark.s3
@pytest.mark.timeout(3600)
@pytest.mark.proof
def test_the_demo_comes_out_as_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cadence.run(tmp_path, material.tiny) == 0, capsys.readouterr().out
    assert "all came out as said" in capsys.readouterr().out
