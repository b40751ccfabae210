"""R6: a rank that was stopped is found within the watchdog + 10 s and named, and training goes on afterwards."""

import os
import signal
import threading
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from infra.errors import Unreachable
from infra.launch.lifeline import started_by
from tests.benchmarks.figures import figure
from tests.e2e.training import Bench, bench

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

WATCHDOG_S = 30
FIELDS = {
    "deepspeed": "zero2",
    "num_processes": 2,
    "train_batch_size": 4,
    "max_steps": 400,
    "save_steps": 20,
    "ddp_timeout": WATCHDOG_S,
}


def rank(number: int) -> psutil.Process | None:
    """The process of a rank that trains below this one."""
    for process in started_by(os.getpid()):
        try:
            if process.environ().get("RANK") == str(number) and "tasks.training.rank" in process.cmdline():
                return process
        except (psutil.Error, OSError):
            continue
    return None


def stop_rank_one(here: Bench, stopped: list[tuple[float, int]]) -> None:
    """Once a checkpoint is committed; notes when and whom."""
    end = time.monotonic() + 900
    while not any((here.platform.home / "store").rglob("COMMIT.json")) and time.monotonic() < end:
        time.sleep(0.02)
    victim = rank(1)
    assert victim is not None
    os.kill(victim.pid, signal.SIGSTOP)
    stopped.append((time.time(), victim.pid))


def test_a_stopped_rank_is_found_in_time_named_and_gone_and_training_resumes(tmp_path: Path) -> None:
    here, stopped = bench(tmp_path), []
    hand = threading.Thread(target=stop_rank_one, args=(here, stopped))
    hand.start()
    with pytest.raises(Unreachable) as caught:
        here.train(**FIELDS)
    hand.join()
    ((when, pid),) = stopped
    told_s = time.time() - when
    (log,) = (here.platform.home / "logs").iterdir()
    late = found(log.read_text(), pid) - when - WATCHDOG_S
    figure("R6.hung_rank_s", late, target=10.0, better="lower", unit="s beyond the watchdog until found", n=1)
    figure("R6.hung_rank_told_s", told_s - WATCHDOG_S, better="lower", unit="s until all was ended and told", n=1)
    assert caught.value.what == f"training stood still for {WATCHDOG_S} s: rank 1 (pid {pid}) is stopped"
    assert ".py:" in caught.value.place
    assert f"rank 1 (pid {pid}, stopped) training" in caught.value.value
    assert "Current thread" in log.read_text()
    assert started_by(os.getpid()) == []
    receipt = here.train(**FIELDS)
    assert str(receipt.summary["resumed_from"]).startswith("checkpoint-")
    assert late < 10


def found(log: str, pid: int) -> float:
    """When the worker logged the stack of a rank, in seconds since 1970."""
    (line,) = [line for line in log.splitlines() if line.endswith(f"rank 1 (pid {pid}):")]
    return datetime.fromisoformat(line[:23].replace(",", ".")).timestamp()
