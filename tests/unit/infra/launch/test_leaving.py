"""SIGTERM is passed on once to each child and ends nothing by itself, until the grace is over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.errors import Preempted
from infra.launch import leaving as module
from infra.launch.leaving import Leaving

CHILD = """
import signal, sys
from pathlib import Path
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
Path(sys.argv[1]).touch()
while not heard or sys.argv[2] == "stays":
    signal.pause()
"""


PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"


def parent(ready: Path, kind: str = "") -> subprocess.Popen[bytes]:
    """A process with one child: those of this process are other tests' servers."""
    started = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(ready), kind])
    end = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    return started


def test_children_are_told_and_may_finish(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    running = parent(tmp_path / "ready")
    with Leaving(running.pid) as quiet:
        assert not quiet.asked
    assert signal.getsignal(signal.SIGTERM) == before
    try:
        with Leaving(running.pid) as leaving:
            leaving.look()
            assert running.poll() is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert leaving.asked
            leaving.look()
            assert running.wait(20) == 0
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_children_that_are_deaf_are_not_waited_for_beyond_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    try:
        running = parent(tmp_path / "ready", "stays")
        with Leaving(running.pid) as leaving:
            os.kill(os.getpid(), signal.SIGTERM)
            leaving.look()
            time.sleep(0.6)
            with pytest.raises(Preempted, match="in time"):
                leaving.look()
            assert running.poll() is None
            psutil.Process(running.pid).children()[0].kill()
            running.wait(20)
    finally:
        signal.signal(signal.SIGTERM, before)
