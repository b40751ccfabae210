"""Several workers of one job on this machine."""

import time
from pathlib import Path

import psutil
import pytest

from infra.launch.local import LocalJob, LocalLauncher
from infra.launch.resources import Resources

WORKER = """
import os, sys, time
from pathlib import Path
node = os.environ["LUTHIER_NODE"]
print("hello from", node, flush=True)
Path(sys.argv[1], node).write_text(os.environ["LUTHIER_NODES"] + " " + os.environ["LUTHIER_HOME"])
while not Path(sys.argv[1], "end-" + node).exists():
    time.sleep(0.01)
sys.exit(int(Path(sys.argv[1], "end-" + node).read_text()))
"""


@pytest.fixture
def job(tmp_path: Path) -> LocalJob:
    (tmp_path / "on_a_node.py").write_text(WORKER)
    told = {"PYTHONPATH": str(tmp_path), "LUTHIER_HOME": str(tmp_path / "home")}
    return LocalLauncher().start("on_a_node", str(tmp_path), told, tmp_path / "logs/it.log", Resources(nodes=2))


def until(*paths: Path) -> None:
    end = time.monotonic() + 30
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.01)


def status(job: LocalJob) -> int:
    for process in job.processes:
        process.wait(30)
    found = job.poll()
    assert found is not None
    return found


def test_each_node_has_its_place_its_home_and_its_log(tmp_path: Path, job: LocalJob) -> None:
    for node in "01":
        (tmp_path / f"end-{node}").write_text("0")
    assert status(job) == 0
    job.stop()
    assert (tmp_path / "0").read_text() == f"2 {tmp_path}/home"
    assert (tmp_path / "1").read_text() == f"2 {tmp_path}/home/node-1"
    assert (tmp_path / "logs/it.log").read_text() == "hello from 0\n"
    assert (tmp_path / "logs/it-1.log").read_text() == "hello from 1\n"


def test_a_job_is_over_when_all_its_nodes_are_and_fails_with_any(tmp_path: Path, job: LocalJob) -> None:
    (tmp_path / "end-1").write_text("3")
    job.processes[1].wait(30)
    assert job.poll() is None
    (tmp_path / "end-0").write_text("0")
    assert status(job) == 3
    job.stop()


def test_stopping_a_job_ends_all_its_nodes(tmp_path: Path, job: LocalJob) -> None:
    until(tmp_path / "0", tmp_path / "1")
    pids = [process.pid for process in job.processes]
    job.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert job.poll() != 0
