"""Whoever makes MLflow's database may be killed at any time: the next one finds none, or a whole one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.stack.services import Plan
from infra.stack.state import Credentials, Folder
from infra.stack.supervise import ROLES
from infra.tracking import database

pytestmark = pytest.mark.slow

MAKE = "import sys; from infra.tracking import database; database.ensure(sys.argv[1])"


def killed_in_the_middle(uri: str, half: Path, after: int) -> None:
    """Kill one that makes it once so many bytes of tables are there."""
    run = subprocess.Popen([sys.executable, "-c", MAKE, uri], cwd=Path(__file__).parents[2])
    end = time.monotonic() + 120
    try:
        while not (half.exists() and half.stat().st_size > after):
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
    finally:
        run.kill()
        run.wait()


def test_one_killed_while_it_makes_tables_costs_the_next_nothing(tmp_path: Path) -> None:
    path = tmp_path / "home" / "mlflow.db"
    uri, half = f"sqlite:///{path}", path.with_name("mlflow.db.half")
    for after in (0, 300_000):
        killed_in_the_middle(uri, half, after)
        assert not path.exists()
    database.ensure(uri)
    client = MlflowClient(uri)
    assert client.get_experiment(client.create_experiment("luthier")).name == "luthier"
    assert not list(path.parent.glob("*.half*"))
    database.ensure(uri)  # and is left alone from then on
    assert client.get_experiment_by_name("luthier")


def test_the_stacks_own_database_is_there_whole_before_its_server_starts(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.root.mkdir(parents=True)
    service = Plan(folder, dict.fromkeys(ROLES, 1), Credentials(), {}).mlflow()
    killed_in_the_middle(service.environment["MLFLOW_BACKEND_STORE_URI"], tmp_path / "mlflow.db.half", 0)
    service.prepare()
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
