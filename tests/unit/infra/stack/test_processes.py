"""A process is told from all others: a reused pid is never taken for ours, and an orphan of ours is found."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.stack import processes
from infra.stack.processes import Record, alive, born, family, heads, send, stop, wait_gone
from tests.unit.infra.stack.conftest import Start

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"


def until_ready(log: Path, times: int = 1) -> None:
    end = time.monotonic() + 20
    while log.read_text().count("ready") < times:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_process_is_alive_until_it_is_gone(start: Start) -> None:
    record = start(SLEEP)
    assert alive(record)
    os.kill(record.pid, signal.SIGKILL)
    assert not wait_gone([record], 10)
    assert not alive(None)


def test_a_reused_pid_is_neither_alive_nor_signalled(start: Start) -> None:
    another = start(SLEEP)
    remembered = another.model_copy(update={"born": another.born.rpartition(":")[0] + ":1"})
    assert not alive(remembered)
    send([remembered], signal.SIGKILL)
    assert stop(remembered, "tests/nobody", signal.SIGTERM, 1) == 0
    assert alive(another)


def test_another_boot_is_another_process(start: Start) -> None:
    record = start(SLEEP)
    assert not alive(record.model_copy(update={"born": "another-boot:" + record.born.rpartition(":")[2]}))


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    record = Record(pid=child.pid, born=born(child.pid), started=0)
    assert not wait_gone([record], 10)
    child.wait()


def test_an_orphan_is_found_by_its_mark_and_only_ours(start: Start, tmp_path: Path) -> None:
    head, stranger = start(PARENT), start(SLEEP, "tests/another")
    until_ready(tmp_path / "log", 3)
    os.kill(head.pid, signal.SIGKILL)
    wait_gone([head], 10)
    orphans = family(head, "tests/one")
    assert len(orphans) == 1
    assert stop(head, "tests/one", signal.SIGTERM, 5) == 1
    assert not wait_gone(orphans, 0)
    assert alive(stranger)


def test_the_head_of_a_family_is_the_one_that_none_of_it_started(start: Start, tmp_path: Path) -> None:
    head = start(PARENT)
    until_ready(tmp_path / "log", 2)
    members = family(head, "tests/one")
    assert len(members) == 2
    assert [member.pid for member in heads(members)] == [head.pid]


def test_one_that_does_not_listen_is_killed_after_its_grace(start: Start, tmp_path: Path) -> None:
    record = start(DEAF)
    until_ready(tmp_path / "log")
    begun = time.monotonic()
    assert stop(record, "tests/one", signal.SIGTERM, 0.5) == 1
    assert not alive(record)
    assert time.monotonic() - begun < 5


def test_one_that_was_stopped_hears_its_signal(start: Start, tmp_path: Path) -> None:
    record = start(SLEEP)
    until_ready(tmp_path / "log")
    os.kill(record.pid, signal.SIGSTOP)
    begun = time.monotonic()
    stop(record, "tests/one", signal.SIGTERM, 10)
    assert not alive(record)
    assert time.monotonic() - begun < 5


def test_a_log_is_its_owners_and_grows_over_restarts(start: Start, tmp_path: Path) -> None:
    for _ in range(2):
        wait_gone([start("print('once')")], 20)
    assert (tmp_path / "log").read_text() == "once\nonce\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert processes.MARK not in os.environ
