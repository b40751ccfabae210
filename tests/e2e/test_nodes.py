"""Several nodes train as one does with as many ranks, and a node that goes takes nothing with it.

The nodes are workers of this machine that share nothing but the store.
"""

import dataclasses
import json
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

from infra.errors import Unreachable
from infra.launch import local
from infra.launch.local import LocalJob, LocalLauncher
from infra.launch.resources import Resources
from infra.storage.receipt import Receipt
from tests.e2e import runs
from tests.e2e.training import Bench, bench, losses
from tests.networks import needs_networks, networks, wire

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


def notes(root: Path) -> list[dict[str, str]]:
    """What the launches noted, oldest first."""
    told = [json.loads(path.read_bytes()) for path in (root / "store/jobs/training").glob("*/*/launch.json")]
    return [launch["notes"] for launch in sorted(told, key=lambda launch: str(launch["started"]))]


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
    assert "last heard: " in lost
    assert "committed" in committed
    first, last = notes(tmp_path)
    for noted in (first, last):
        assert noted["preflight"].startswith("2 nodes are alike and reach each other (")
        assert noted["all_reduce"].startswith("2 ranks of 2 nodes, gloo: ")
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


class Changing(LocalLauncher):
    """A cluster that has another number of nodes for every launch, and ends the last node of each but the last launch once
    that has committed a checkpoint: by loss where there are several, by SIGTERM where there is one."""

    def __init__(self, root: Path, *nodes: int) -> None:
        self.root, self.nodes, self.asked = root, nodes, list[int]()

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> LocalJob:
        assert resources is not None
        self.asked.append(resources.nodes)
        given = self.nodes[len(self.asked) - 1]
        job = super().start(module, spec, environment, log, Resources(nodes=given))
        if len(self.asked) < len(self.nodes):
            last = psutil.Process(job.processes[-1].pid)
            threading.Thread(target=self._end, args=(last, given, self._step())).start()
        return job

    def _step(self) -> int:
        """Of the newest checkpoint; one that was converted for other ranks is of the step that it was made at."""
        return max((int(commit.parent.name.split("-")[0]) for commit in runs.commits(self.root)), default=0)

    def _end(self, worker: psutil.Process, of: int, before: int) -> None:
        _await(lambda: self._step() > before)
        if of == 1:
            worker.terminate()
            return
        for process in [worker, *worker.children(recursive=True)]:
            process.kill()


def changing(tmp_path: Path, *nodes: int) -> tuple[Changing, Bench, Receipt]:
    made, launcher = bench(tmp_path), Changing(tmp_path, *nodes)
    here = dataclasses.replace(made, platform=dataclasses.replace(made.platform, launcher=launcher))
    return launcher, here, here.train(**(runs.FIELDS | TWO))


@pytest.mark.proof
def test_where_a_launcher_gets_fewer_nodes_training_goes_on_on_those(tmp_path: Path, one_node: runs.Told) -> None:
    launcher, here, receipt = changing(tmp_path, 2, 1)
    assert launcher.asked == [2, 2]
    assert receipt.summary["num_processes"] == 1
    assert str(receipt.summary["resumed_across"]).startswith("processes 2 → 1")
    np.testing.assert_allclose(losses(here, receipt), one_node.losses, atol=2e-5)


@pytest.mark.proof
def test_the_launch_after_that_has_all_nodes_again_where_they_are_back(tmp_path: Path, one_node: runs.Told) -> None:
    launcher, here, receipt = changing(tmp_path, 2, 1, 2)
    assert launcher.asked == [2, 2, 2]
    assert receipt.summary["num_processes"] == 2
    assert str(receipt.summary["resumed_across"]).startswith("processes 1 → 2")
    np.testing.assert_allclose(losses(here, receipt), one_node.losses, atol=2e-5)


@dataclasses.dataclass(frozen=True)
class Apart:
    """Two networks with a wire between them and no other way, and a Python that runs in that of its node."""

    python: Path
    networks: list[str]

    def cut(self) -> None:
        """From now on nothing passes, and nobody is told."""
        wire(self.networks[0], "down")

    def mend(self) -> None:
        """As it was."""
        wire(self.networks[0], "up")


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    python = tmp_path / "python"
    with networks() as names:
        name = names[0].removesuffix("-0")
        command = f'ip netns exec {name}-$LUTHIER_NODE {sys.executable} "$@"'
        python.write_text(f"#!/bin/sh\nunset LUTHIER_HOST\nexec {command}\n")
        python.chmod(0o755)
        yield Apart(python, names)


@pytest.mark.proof
@needs_networks
def test_nodes_with_networks_of_their_own_find_each_other(
    tmp_path: Path, one_node: runs.Told, apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(tmp_path / "run")
    monkeypatch.setattr(local.sys, "executable", str(apart.python))
    receipt = here.train(**(runs.FIELDS | TWO))
    assert losses(here, receipt).tolist() == one_node.losses
    (told,) = (tmp_path / "run/store/jobs/training").glob("*/*/address.json")
    assert '"host":"10.77.0.1"' in told.read_text()


@pytest.mark.proof
@needs_networks
def test_a_wire_that_goes_dark_is_named_and_training_goes_on_once_it_is_back(
    tmp_path: Path, one_node: runs.Told, apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    here = bench(root)
    monkeypatch.setattr(local.sys, "executable", str(apart.python))
    dark: list[float] = []

    def strike() -> None:
        _await(lambda: runs.commits(root))
        apart.cut()
        dark.append(time.monotonic())
        _await(lambda: launches(root))
        dark.append(time.monotonic())
        apart.mend()

    striking = threading.Thread(target=strike)
    striking.start()
    receipt = here.train(**(runs.FIELDS | TWO | {"ddp_timeout": 30, "max_steps": 40}))
    striking.join()
    lost, committed = launches(root)
    assert '"LinkLost"' in lost
    assert "nodes 0 (10.77.0.1) and 1 (10.77.0.2) do not reach each other any more" in lost
    assert "committed" in committed
    assert dark[1] - dark[0] < 30 + 20, "the watch's time, two knocks and a word through the store"
    assert str(receipt.summary["resumed_from"]).startswith("checkpoint-")
    assert losses(here, receipt).tolist() == one_node.losses
    assert receipt.content_sha256 == one_node.content


@pytest.mark.slow
@needs_networks
def test_nodes_that_do_not_reach_each_other_are_told_before_anything_is_loaded(
    tmp_path: Path, apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart.cut()
    apart.python.write_text(
        apart.python.read_text().replace("unset LUTHIER_HOST", "export LUTHIER_HOST=10.77.0.$((LUTHIER_NODE + 1))")
    )
    here = bench(tmp_path / "run")
    monkeypatch.setattr(local.sys, "executable", str(apart.python))
    with pytest.raises(Unreachable) as lost:
        here.train(**(runs.FIELDS | TWO))
    assert lost.value.what == "nodes 0 (10.77.0.1) and 1 (10.77.0.2) do not reach each other"
    assert not list((tmp_path / "run/cache").rglob("*")), "nothing was fetched"


def _await(condition: Callable[[], object], seconds: float = 500) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def steps_made(root: Path) -> int:
    return sum(len(journal.read_bytes().splitlines()) for journal in root.glob("work/*/journal.jsonl"))
