"""Workers and their parents when they are killed, stopped, or told to leave."""

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
from infra.errors import Crashed, Unreachable
from infra.launch import lifeline, local
from infra.launch.produce import produce
from infra.settings import Platform
from tests import toy
from tests.toy import Toy


@pytest.fixture
def platform(luthier_home: Path) -> Platform:
    return settings.load().platform()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def start_family(notes: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process that calls produce(), and the pids of worker, child and orphaned grandchild below it."""
    # Ctrl-C must reach it even where these tests run in the background of a shell, which has it ignored.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; from tests.toy import run, Toy; run(Toy(act='family', notes=sys.argv[1]))"
    parent = subprocess.Popen([sys.executable, "-c", code, str(notes)], stderr=subprocess.DEVNULL)
    until((notes / "pids").exists)
    pids = json.loads((notes / "pids").read_text())
    assert alive(pids) == pids
    return parent, pids


def test_a_worker_killed_crashes_with_the_end_of_its_log_and_is_worth_a_retry(platform: Platform) -> None:
    with pytest.raises(Crashed, match="exit status -9") as caught:
        toy.run(Toy(act="killed"))
    assert caught.value.value.endswith("last words")
    assert caught.value.retry
    (killed,) = (platform.home / "work").glob("toy-*/")
    toy.run(Toy())
    assert not killed.exists(), "the next worker removes what a killed one left"


def test_what_a_killed_worker_started_is_ended(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="exit status -9"):
        toy.run(Toy(act="family, killed", notes=str(tmp_path)))
    assert alive(json.loads((tmp_path / "pids").read_text())) == []


def test_a_worker_told_to_leave_is_launched_again_here(platform: Platform, tmp_path: Path) -> None:
    receipt = toy.run(Toy(act="told to leave", notes=str(tmp_path)))
    assert receipt.summary["launches"] == 3


def test_a_silent_worker_is_ended_and_reported_unreachable(platform: Platform, tmp_path: Path) -> None:
    config = Toy(act="silent", notes=str(tmp_path))
    with pytest.raises(Unreachable, match="no sign of life") as caught:
        produce(toy.step(config), dataclasses.replace(platform, silence_s=4.0))
    assert caught.value.retry
    (launch,) = tmp_path.glob("launch-*")
    assert alive([int(launch.name.removeprefix("launch-"))]) == []


def test_a_worker_that_beats_but_does_not_end_is_ended_at_the_deadline_of_its_stage(
    platform: Platform, tmp_path: Path
) -> None:
    config = Toy(act="forever", notes=str(tmp_path))
    with pytest.raises(Unreachable, match="not done in 3 s") as caught:
        produce(toy.step(config), dataclasses.replace(platform, stage_deadline_s=3.0))
    assert caught.value.value.startswith("it ")
    (launch,) = tmp_path.glob("launch-*")
    assert alive([int(launch.name.removeprefix("launch-"))]) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_flow(platform: Platform, tmp_path: Path, number: signal.Signals) -> None:
    parent, pids = start_family(tmp_path)
    parent.send_signal(number)
    assert parent.wait(40) != 0
    until(lambda: not alive(pids), seconds=10)


def test_a_worker_deaf_to_everything_is_killed_after_its_grace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "GRACE_S", -4.0)  # one second in all
    (tmp_path / "deaf.py").write_text(
        "import signal, sys, time; from pathlib import Path\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "Path(sys.argv[1]).touch()\n"
        "time.sleep(600)\n"
    )
    job = local.LocalLauncher().start(
        "deaf", str(tmp_path / "ready"), {"PYTHONPATH": str(tmp_path)}, tmp_path / "logs/deaf.log"
    )
    until((tmp_path / "ready").exists)
    job.stop()
    job.stop()
    assert job.poll() == -signal.SIGKILL


def test_no_descriptor_is_left_open_by_a_launch(platform: Platform) -> None:
    toy.run(Toy(value=1))
    before = len(os.listdir("/proc/self/fd"))
    toy.run(Toy(value=2))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_mark_finds_what_has_it_and_nothing_else() -> None:
    ours = subprocess.Popen(["sleep", "600"], env=os.environ | {lifeline.MARK: "test-mark"}, start_new_session=True)
    other = subprocess.Popen(["sleep", "600"], env=os.environ | {lifeline.MARK: "test-mark-2"}, start_new_session=True)
    try:
        found = lifeline.started_by(ours.pid, "test-mark")
        assert found == []
        found = lifeline.started_by(1 << 22, "test-mark")
        assert [process.pid for process in found] == [ours.pid]
        lifeline.end(found, grace_s=5)
        assert alive([ours.pid]) == []
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
