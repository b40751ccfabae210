"""Several nodes train as one does with as many ranks, and a node that goes takes nothing with it.

The nodes are workers of this machine that share nothing but the store.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from infra.launch import local
from infra.launch.local import LocalJob, LocalLauncher
from infra.launch.resources import Resources
from tests.e2e import runs
from tests.e2e.training import bench, losses
from tests.networks import needs_networks, networks

TWO = {"max_steps": 40, "resources": {"nodes": 2}}
FULL = {"tuning": {"method": "full"}, "deepspeed": "zero3", "learning_rate": 1e-3, "max_steps": 12}


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many for a rank, however the ranks lie on nodes: sums may depend on it."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2)))


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> runs.Told:
    return runs.ended(runs.started(tmp_path_factory.mktemp("one"), max_steps=40))


def of_node(run: "subprocess.Popen[str]", node: int) -> list[psutil.Process]:
    """The worker of a node, and all that it started."""
    workers = [child for child in psutil.Process(run.pid).children() if "tasks.training.worker" in child.cmdline()]
    (worker,) = [child for child in workers if child.environ()["LUTHIER_NODE"] == str(node)]
    return [worker, *worker.children(recursive=True)]


def struck(root: Path, strike: Callable[["subprocess.Popen[str]"], object], **fields: object) -> runs.Told:
    """What came of a training on two nodes that something happened to after its first checkpoint."""
    run = runs.started(root, **(TWO | fields))
    runs.wait_until(lambda: runs.commits(root), run)
    strike(run)
    return runs.ended(run)


def launches(root: Path) -> list[str]:
    """How the launches ended, oldest first."""
    found = sorted((root / "store/jobs/training").glob("*/*/outcome.json"), key=lambda path: path.stat().st_mtime)
    return [path.read_text() for path in found]


def kill_second(run: "subprocess.Popen[str]") -> None:
    for process in of_node(run, 1):
        process.kill()


@pytest.mark.slow
def test_a_node_that_is_killed_is_named_and_all_ends_as_on_one_node_left_alone(
    tmp_path: Path, one_node: runs.Told
) -> None:
    told = struck(tmp_path, kill_second)
    lost, committed = launches(tmp_path)
    assert "NodeLost" in lost
    assert "node 1 (127.0.0.1) was lost" in lost
    assert "committed" in committed
    assert told.summary["resumed_from"].startswith("checkpoint-")
    assert told.losses == one_node.losses
    assert told.content == one_node.content
    assert not any(path.is_dir() for path in (tmp_path / "node-1" / "work").iterdir())


@pytest.mark.proof
def test_weights_that_two_nodes_share_are_trained_as_on_one(tmp_path: Path) -> None:
    one = runs.ended(runs.started(tmp_path / "one", **FULL))
    two = runs.ended(runs.started(tmp_path / "two", **FULL, resources={"nodes": 2}))
    assert two.losses == one.losses
    assert two.content == one.content
    assert one.summary["num_processes"] == two.summary["num_processes"] == 2


@pytest.mark.proof
def test_the_first_node_may_be_the_one_that_is_killed(tmp_path: Path) -> None:
    one = runs.ended(runs.started(tmp_path / "one", **FULL))
    two = struck(tmp_path / "two", lambda run: [process.kill() for process in of_node(run, 0)], **FULL, save_steps=2)
    assert two.summary["resumed_from"].startswith("checkpoint-")
    assert two.content == one.content


@pytest.mark.proof
def test_any_node_may_be_told_to_leave_and_all_save_at_one_step(tmp_path: Path, one_node: runs.Told) -> None:
    run = runs.started(tmp_path, **TWO, save_steps=1000)
    runs.wait_until(lambda: steps_made(tmp_path) > 3, run)
    of_node(run, 1)[0].send_signal(signal.SIGTERM)
    told = runs.ended(run)
    assert "Preempted" in launches(tmp_path)[0]
    assert told.summary["resumed_from"].startswith("checkpoint-")
    assert told.content == one_node.content


@pytest.mark.proof
def test_a_rank_that_stands_still_is_named_with_its_node(tmp_path: Path) -> None:
    run = runs.started(tmp_path, **TWO, ddp_timeout=30)
    runs.wait_until(lambda: runs.commits(tmp_path), run)
    (rank,) = [process for process in of_node(run, 1) if process.environ().get("RANK") == "1"]
    rank.suspend()
    run.communicate(timeout=300)
    told = launches(tmp_path)[-1]
    assert f"training stood still for 30 s: rank 1 on node 1 (pid {rank.pid}) is stopped" in told


class Shrinking(LocalLauncher):
    """A cluster that loses one of its two nodes once a checkpoint is committed, and gets no other."""

    def __init__(self, root: Path) -> None:
        self.root, self.launches = root, 0

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> LocalJob:
        self.launches += 1
        job = super().start(module, spec, environment, log, resources if self.launches == 1 else None)
        if self.launches == 1:
            threading.Thread(target=self._lose, args=(psutil.Process(job.processes[1].pid),)).start()
        return job

    def _lose(self, worker: psutil.Process) -> None:
        end = time.monotonic() + 500
        while not runs.commits(self.root) and time.monotonic() < end:
            time.sleep(0.02)
        for process in [worker, *worker.children(recursive=True)]:
            process.kill()


@pytest.mark.proof
def test_where_a_launcher_gets_fewer_nodes_training_goes_on_on_those(tmp_path: Path, one_node: runs.Told) -> None:
    made, launcher = bench(tmp_path), Shrinking(tmp_path)
    here = dataclasses.replace(made, platform=dataclasses.replace(made.platform, launcher=launcher))
    receipt = here.train(**(runs.FIELDS | TWO))
    assert launcher.launches == 2
    assert receipt.summary["num_processes"] == 1
    assert str(receipt.summary["resumed_across"]).startswith("processes 2 → 1")
    np.testing.assert_allclose(losses(here, receipt), one_node.losses, atol=2e-5)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Path]:
    """A Python that runs in the network of its node: two of these, with a wire between them and no other way."""
    python = tmp_path / "python"
    with networks() as names:
        name = names[0].removesuffix("-0")
        command = f'ip netns exec {name}-$LUTHIER_NODE {sys.executable} "$@"'
        python.write_text(f"#!/bin/sh\nunset LUTHIER_HOST\nexec {command}\n")
        python.chmod(0o755)
        yield python


@pytest.mark.proof
@needs_networks
def test_nodes_with_networks_of_their_own_find_each_other(
    tmp_path: Path, one_node: runs.Told, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(tmp_path / "run")
    monkeypatch.setattr(local.sys, "executable", str(apart))
    receipt = here.train(**(runs.FIELDS | TWO))
    assert losses(here, receipt).tolist() == one_node.losses
    (told,) = (tmp_path / "run/store/jobs/training").glob("*/*/address.json")
    assert '"host":"10.77.0.1"' in told.read_text()


def steps_made(root: Path) -> int:
    return sum(len(journal.read_bytes().splitlines()) for journal in root.glob("work/*/journal.jsonl"))
