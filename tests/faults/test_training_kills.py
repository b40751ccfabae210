"""R2: kill -9 in training, for every method on every stage of ZeRO: what comes out is what would have. And what goes on
with another number of ranks goes on with its optimizer."""

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.benchmarks.figures import figure, note
from tests.e2e import runs

pytestmark = pytest.mark.proof

METHODS, ENGINES, KILLS = ("full", "lora", "qlora"), ("zero1", "zero2", "zero3"), 20
COMBINATIONS = list(itertools.product(METHODS, ENGINES))
VICTIMS = ("flow", "worker", "torchrun", "rank")


@pytest.mark.timeout(7200)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    victims, chance = itertools.cycle(VICTIMS), random.Random(2)
    exact = 0
    for at, (method, engine) in enumerate(COMBINATIONS):
        kills = KILLS // len(COMBINATIONS) + (at < KILLS % len(COMBINATIONS))
        fields = {"tuning": {"method": method}, "deepspeed": engine}
        reference = runs.ended(runs.started(tmp_path / "undisturbed", **fields))
        root = tmp_path / "killed"
        for victim in itertools.islice(victims, kills):
            kill_one(root, victim, chance.random(), **fields)
        resumed = runs.ended(runs.started(root, **fields))
        assert resumed.summary["resumed_from"] is not None
        equal = (resumed.losses, resumed.content) == (reference.losses, reference.content)
        assert equal, (method, engine)
        exact += kills * equal
        note(f"{method} {engine}: {kills} kills, equal")
    figure("R2", exact / KILLS, target=1.0, better="higher", unit="share", n=KILLS)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_another_number_of_ranks_goes_on(tmp_path: Path, method: str, engine: str, first: int, second: int) -> None:
    fields = {"tuning": {"method": method}, "deepspeed": engine}
    reference = runs.ended(runs.started(tmp_path / "undisturbed", **fields, num_processes=second))
    kill_one(tmp_path / "moved", "flow", 0, **fields, num_processes=first)
    moved = runs.ended(runs.started(tmp_path / "moved", **fields, num_processes=second))
    assert moved.summary["resumed_across"].startswith(f"processes {first} → {second}")
    apart = float(np.abs(np.subtract(moved.losses, reference.losses)).max())
    note(f"{method} {engine} {first} → {second}: {moved.summary['resumed_from']}, losses at most {apart:.1e} apart")
    assert apart < 2e-5


def kill_one(root: Path, victim: str, delay_s: float, **fields: object) -> None:
    """Start or go on, and kill one of its processes a moment after a checkpoint more than before was committed."""
    before = set(runs.commits(root))
    run = runs.started(root, **fields)
    runs.wait_until(lambda: set(runs.commits(root)) - before, run, 600)
    time.sleep(delay_s)  # not awaited: any moment will do
    everyone = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    next(found(everyone, victim)).kill()
    run.communicate(timeout=120)
    assert run.returncode != 0, "it was over before the kill"
    _, alive = psutil.wait_procs(everyone[1:], timeout=60)
    assert alive == []


def found(processes: list[psutil.Process], victim: str) -> Iterator[psutil.Process]:
    marks = {"flow": "tests.e2e.training", "worker": "tasks.training.worker", "torchrun": "tasks.training.torchrun"}
    mark = marks.get(victim, "tasks.training.rank")
    for process in processes:
        words = " ".join(process.cmdline())
        if mark in words and (victim != "rank" or "tasks.training.torchrun" not in words):
            yield process
