"""Nothing is lost: a training that is killed, or told to leave, ends as one that was left alone."""

import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from infra.storage import trajectory
from infra.storage.objects import LocalObjects
from infra.storage.store import Store
from tests.e2e import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> runs.Told:
    return runs.ended(runs.started(tmp_path_factory.mktemp("undisturbed")))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a training was killed with -9 after its first checkpoint, and nothing that it started was left."""
    root = tmp_path_factory.mktemp("killed")
    victim = runs.started(root)
    runs.wait_until(lambda: runs.commits(root), victim)
    runs.kill(victim)
    return root


def test_after_kill_nine_of_the_flow_the_rerun_is_exact(tmp_path: Path, killed: Path, undisturbed: runs.Told) -> None:
    resumed = runs.ended(runs.started(shutil.copytree(killed, tmp_path / "again")))
    assert undisturbed.summary["resumed_from"] is None
    assert resumed.summary["resumed_from"].startswith("checkpoint-")
    assert resumed.losses == undisturbed.losses
    assert resumed.content == undisturbed.content


def test_on_another_number_of_ranks_it_goes_on_with_its_optimizer(
    tmp_path: Path, killed: Path, undisturbed: runs.Told
) -> None:
    root = shutil.copytree(killed, tmp_path / "again")
    before = set(runs.commits(root))
    resumed = runs.ended(runs.started(root, num_processes=1))
    assert resumed.summary["resumed_from"].startswith("checkpoint-")
    assert resumed.summary["resumed_across"].startswith("processes 2 → 1")
    np.testing.assert_allclose(resumed.losses, undisturbed.losses, atol=2e-5)
    assert set(runs.commits(root)) - before


def test_told_to_leave_in_the_middle_it_saves_where_it_stops_and_goes_on_from_there(
    tmp_path: Path, undisturbed: runs.Told
) -> None:
    run = runs.started(tmp_path, save_steps=1000)
    runs.wait_until(lambda: steps_made(tmp_path) > 3, run)
    worker(run).send_signal(signal.SIGTERM)
    resumed = runs.ended(run)  # the stage itself launches it again
    (stopped, *_) = trajectory.entries(Store(LocalObjects(tmp_path / "store")), training_key(tmp_path))
    assert 3 < stopped < runs.FIELDS["max_steps"]
    assert resumed.summary["resumed_from"] == f"checkpoint-{stopped}"
    assert resumed.losses == undisturbed.losses
    assert resumed.content == undisturbed.content


def worker(run: "runs.subprocess.Popen[str]") -> psutil.Process:
    (found,) = [child for child in psutil.Process(run.pid).children() if "tasks.training.worker" in child.cmdline()]
    return found


def steps_made(root: Path) -> int:
    return sum(len(journal.read_bytes().splitlines()) for journal in root.glob("work/*/journal.jsonl"))


def training_key(root: Path) -> str:
    (found,) = (root / "store" / "stages" / "training").iterdir()
    return found.name
