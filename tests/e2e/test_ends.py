"""R6: a run that is cancelled leaves no process within 30 s; one whose process and worker are gone is marked within 120 s."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL

import psutil
import pytest

from tests.benchmarks.figures import figure
from tests.e2e import recipes
from tests.e2e.stack import Stack
from tests.e2e.test_outages import start, training, until

pytestmark = [pytest.mark.proof, pytest.mark.s3, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipes.write(
        tmp_path_factory.mktemp("ends"), train={"max_steps": 4000, "save_steps": 25}, register={"name": "ends"}
    )


@pytest.fixture
def running(stack: Stack, recipe: Path) -> Iterator[Callable[[int], tuple[str, list[psutil.Process]]]]:
    """Starts a training of two ranks; its run, and its processes from the flow's on."""
    services = set(stack.processes())

    def begin(seed: int) -> tuple[str, list[psutil.Process]]:
        run = start(stack, recipe, {"train.seed": seed})
        until(lambda: training(stack, run), 600)
        processes = [process for process in stack.processes() if process not in services]
        assert sum("tasks.training.rank" in line(process) for process in processes) >= 3  # torchrun names them too
        return run, processes

    yield begin
    for process in set(stack.processes()) - services:
        if "tasks." in line(process):
            process.kill()


def line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def state(stack: Stack, run: str) -> str:
    return str(stack.prefect(f"flow_runs/{run}")["state"]["type"])


Running = Callable[[int], tuple[str, list[psutil.Process]]]


def test_a_run_that_is_cancelled_leaves_no_process_in_30_s(stack: Stack, running: Running) -> None:
    run, processes = running(1)
    begun = time.monotonic()
    # What the button on the run's page sends.
    stack.prefect(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    _, alive = psutil.wait_procs(processes, timeout=90)
    took = time.monotonic() - begun
    figure("R6.cancel_s", took, target=30.0, better="lower", unit="s until the last of its processes was gone", n=1)
    assert [line(process) for process in alive] == []
    until(lambda: state(stack, run) == "CANCELLED", 60)
    assert took <= 30


def test_a_run_whose_process_and_worker_were_killed_is_marked_crashed_in_120_s(stack: Stack, running: Running) -> None:
    run, processes = running(2)
    (flow,) = [process for process in processes if "prefect.engine" in line(process) or "flow_run" in line(process)][:1]
    os.kill(stack.pids()["worker"], SIGKILL)
    flow.kill()
    begun = time.monotonic()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert [line(process) for process in alive] == []
    until(lambda: state(stack, run) == "CRASHED", 300)
    took = time.monotonic() - begun
    figure("R6.dead_flow_s", took, target=120.0, better="lower", unit="s until the run was marked crashed", n=1)
    stack("up")  # its worker again
    assert took <= 120
