"""Memory that is not there: training goes on with fewer sequences at once, to the same result, and does not forget it."""

import dataclasses
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from infra.launch.local import LocalJob, LocalLauncher
from infra.launch.resources import Resources
from infra.launch.step import Launch
from tests.e2e.training import Bench, bench, losses

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

LOGITS = {"packed": 20, "vocab": 100_000}  # some hundred megabytes of them for each sequence
BATCH = {
    "per_device_train_batch_size": 8,
    "train_batch_size": 8,
    "deepspeed": "none",
    "max_steps": 4,
    "save_steps": 1,
}
LESS = 500 * 2**20  # bytes that are missing: a batch of 4 sequences needs a gigabyte less than one of 8


class Narrow(LocalLauncher):
    """A machine that gets narrow in the middle of the first launch, once a checkpoint is committed."""

    def __init__(self, commits: Path) -> None:
        self.commits, self.launches = commits, 0

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> LocalJob:
        job = super().start(module, spec, environment, log, resources)
        self.launches += 1
        if self.launches == 1:
            threading.Thread(target=self._later).start()
        else:
            self.again(job.processes[0].pid)
        return job

    def _later(self) -> None:
        end = time.monotonic() + 600
        while not any(self.commits.rglob("COMMIT.json")) and time.monotonic() < end:
            time.sleep(0.02)
        for process in ranks():
            self.narrow(process.pid)

    def again(self, pid: int) -> None:
        """What a later launch gets."""
        self.narrow(pid)

    def narrow(self, pid: int) -> None:
        """Take memory from a process and all that it starts."""
        raise NotImplementedError


class Addresses(Narrow):
    """No process gets more than so many bytes of addresses: its allocations are refused."""

    def __init__(self, commits: Path, limit: int) -> None:
        super().__init__(commits)
        self.limit = limit

    def narrow(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_AS, (self.limit, self.limit))


class Group(Narrow):
    """The ranks of the first launch get so many bytes more than they have: the kernel kills them."""

    def __init__(self, commits: Path, folder: Path) -> None:
        super().__init__(commits)
        self.folder = folder

    def again(self, pid: int) -> None:
        pass

    def narrow(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of this machine's that gives 400 MiB, of either version."""
    root = Path("/sys/fs/cgroup")
    folder, limit = root / "luthier-test", "memory.max"
    if (root / "memory").is_dir():
        folder, limit = root / "memory" / "luthier-test", "memory.limit_in_bytes"
    if os.geteuid() or not os.access(folder.parent, os.W_OK):
        pytest.skip("needs root and control groups")
    folder.mkdir()
    try:
        (folder / limit).write_text(str(400 * 2**20))
        yield folder
    finally:
        folder.rmdir()


def ranks() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if _is_rank(process)]


def _is_rank(process: psutil.Process) -> bool:
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    return "tasks.training.rank" in line and "tasks.training.torchrun" not in line


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most addresses that a rank below this process ever had, in bytes, as the first item."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            most[0] = max([most[0], *map(_vm_peak, ranks())])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _vm_peak(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak")), 0)


@dataclasses.dataclass(frozen=True)
class Wide:
    """A run that has all the memory it wants."""

    losses: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    peak: int


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Wide:
    here = bench(tmp_path_factory.mktemp("wide"), **LOGITS)
    with peak() as most:
        receipt = here.train(**BATCH)
    return Wide(losses(here, receipt), most[0])


def placed(root: Path) -> tuple[Bench, Path]:
    here = bench(root, **LOGITS)
    return here, here.platform.home / "store"


def on(here: Bench, launcher: Narrow) -> Bench:
    return dataclasses.replace(here, platform=dataclasses.replace(here.platform, launcher=launcher))


def launches(here: Bench) -> list[Launch]:
    """What the store knows of every launch, in order."""
    found = (here.platform.home / "store" / "jobs").rglob("launch.json")
    told = [Launch.model_validate_json(path.read_bytes()) for path in found]
    return sorted(told, key=lambda launch: launch.started)


def test_allocations_that_are_refused_cost_a_launch_and_no_result(tmp_path: Path, wide: Wide) -> None:
    here, store = placed(tmp_path)
    launcher = Addresses(store, wide.peak - LESS)
    here = on(here, launcher)
    receipt = here.train(**BATCH)
    np.testing.assert_allclose(losses(here, receipt), wide.losses, atol=2e-5)
    first, *_, last = launches(here)
    told = "a device ran out of memory in training train.per_device_train_batch_size 8"
    assert (first.outcome, first.reason) == ("Adapted", told)
    assert first.change == "micro-batch 8 → 4, accumulation 1 → 2"
    assert last.outcome == "committed"
    assert last.notes["resumed_from"].startswith("checkpoint-")
    assert int(str(receipt.summary["per_device_train_batch_size"])) < 8
    assert "micro-batch" in str(receipt.summary["adapted"])
    tags = MlflowClient(here.platform.tracking_uri).get_run(str(receipt.summary["mlflow_run_id"])).data.tags
    assert tags["luthier.adapted"] == receipt.summary["adapted"]
    begins_with_what_was_learned(here, launcher)


def begins_with_what_was_learned(here: Bench, launcher: Narrow) -> None:
    """Training anew on the same machine takes one launch."""
    store = here.platform.home / "store" / "stages" / "training"
    for path in [*store.rglob("MANIFEST*"), *store.rglob("COMMIT.json")]:
        path.unlink()
    before = launcher.launches
    receipt = here.train(**BATCH)
    assert launcher.launches == before + 1
    assert launches(here)[-1].notes["resumed_from"] == "the base model"
    assert int(str(receipt.summary["per_device_train_batch_size"])) < 8


def test_a_rank_that_the_kernel_killed_for_memory_is_told_from_one_that_was_killed(
    tmp_path: Path, wide: Wide, group: Path
) -> None:
    here, store = placed(tmp_path)
    here = on(here, Group(store, group))
    receipt = here.train(**BATCH)
    np.testing.assert_allclose(losses(here, receipt), wide.losses, atol=2e-5)
    first, last = launches(here)
    assert (first.outcome, first.change) == ("Adapted", "micro-batch 8 → 4, accumulation 1 → 2")
    assert first.reason.startswith("rank 0 was killed by the kernel for memory")
    assert last.notes["resumed_from"].startswith("checkpoint-")
    assert receipt.summary["per_device_train_batch_size"] == 4
