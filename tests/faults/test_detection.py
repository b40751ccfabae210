"""R6: how long it takes until a dead flow's processes are gone, a cancelled one's too, and until a hung worker is found out."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra import settings
from infra.errors import Unreachable
from infra.launch.produce import produce
from tests import toy
from tests.benchmarks.figures import figure
from tests.toy import Toy

pytestmark = pytest.mark.proof

TIMES, SILENCE_S = 5, 15.0
RUN = "import sys; from tests.toy import run, Toy; run(Toy(act='family', notes=sys.argv[1]))"


def gone_after(notes: Path, number: signal.Signals) -> float:
    """Seconds from a signal to a flow until it, its worker, and what that started are gone."""
    notes.mkdir()
    flow = subprocess.Popen([sys.executable, "-c", RUN, str(notes)], stderr=subprocess.DEVNULL)
    until((notes / "pids").exists, 120)
    pids = [flow.pid, *json.loads((notes / "pids").read_text())]
    assert all(alive(pid) for pid in pids)
    start = time.monotonic()
    os.kill(flow.pid, number)
    flow.wait(120)
    until(lambda: not any(alive(pid) for pid in pids), 120)
    return time.monotonic() - start


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "number", "target"), [("dead_flow_s", signal.SIGKILL, 120), ("cancel_s", signal.SIGTERM, 30)]
)
def test_nothing_outlives_a_flow_for_long(
    luthier_home: Path, tmp_path: Path, name: str, number: signal.Signals, target: float
) -> None:
    slowest = max(gone_after(tmp_path / str(at), number) for at in range(TIMES))
    figure(f"R6.{name}", slowest, target=target, better="lower", unit="s at most", n=TIMES)
    assert slowest <= target


@pytest.mark.timeout(600)
def test_a_worker_that_hangs_is_found_out_and_ended(luthier_home: Path) -> None:
    platform = dataclasses.replace(settings.load().platform(), silence_s=SILENCE_S)
    start = time.monotonic()
    with pytest.raises(Unreachable, match="no sign of life for 15 s"):
        produce(toy.step(Toy(act="silent")), platform)
    beyond = time.monotonic() - start - SILENCE_S
    figure("R6.hung_s", beyond, target=10, better="lower", unit="s beyond the watchdog", n=1)
    assert beyond <= 10
