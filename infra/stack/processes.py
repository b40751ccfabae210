"""Processes that outlive the command that started them, told from all others by more than a number.

A pid is reused sooner or later. So a process is known by its pid, the boot and the kernel's tick at which it was
born, and all that it starts (orphans too) by a mark in its environment that only this stack gives.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from infra.frozen import Frozen

MARK = "LUTHIER_STACK"
POLL_S = 0.1


class Record(Frozen):
    """A process that was started. `born` names the boot and the tick; `started` is in seconds since 1970."""

    pid: int
    born: str
    started: float


def born(pid: int) -> str:
    """When a process was born, in a form that no later process with its pid can have; empty where there is none.

    A zombie counts as gone: it holds nothing but its number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"  # field 22 of proc(5): ticks from boot to birth


def alive(record: Record | None) -> bool:
    """Whether exactly this process runs still."""
    return record is not None and born(record.pid) == record.born


def spawn(
    command: list[str],
    environment: Mapping[str, str],
    log: Path,
    cwd: Path,
    mark: str,
    user: str | None = None,
) -> Record:
    """Start a process in a session of its own; output is appended to `log`. FileNotFoundError without the program."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    finally:
        os.close(descriptor)
    return Record(pid=process.pid, born=born(process.pid), started=time.time())


def family(record: Record | None, mark: str) -> list[Record]:
    """The process, what it started, and whatever else has its mark, each known well enough to be signalled."""
    found: set[int] = set()
    if record is not None and alive(record):
        with contextlib.suppress(psutil.NoSuchProcess):
            found = {record.pid, *(child.pid for child in psutil.Process(record.pid).children(recursive=True))}
    found |= {process.pid for process in psutil.process_iter() if _mark(process) == mark}
    members = [Record(pid=pid, born=born(pid), started=0) for pid in found - {os.getpid()}]
    return [member for member in members if member.born]


def heads(members: Iterable[Record]) -> list[Record]:
    """Those of some processes that none of the others started."""
    known = {member.pid: member for member in members}
    return [member for pid, member in known.items() if _parent(pid) not in known]


def send(processes: Iterable[Record], number: signal.Signals) -> None:
    """Signal those that are still the processes that were meant."""
    for record in processes:
        if alive(record):
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, number)


def wait_gone(processes: Iterable[Record], timeout_s: float) -> list[Record]:
    """Wait for their end; what is left after the timeout."""
    left, end = list(processes), time.monotonic() + timeout_s
    while (left := [record for record in left if alive(record)]) and time.monotonic() < end:
        time.sleep(POLL_S)
    return left


def stop(record: Record | None, mark: str, number: signal.Signals, grace_s: float) -> int:
    """End a process and all that is its own: a signal to its head, SIGKILL to what is left; how many there were.

    Only the head is told first, because servers end their own children in the order that they need.
    """
    members = family(record, mark)
    heads = [record] if record is not None and alive(record) else members
    send(heads, number)
    send(heads, signal.SIGCONT)  # one that was stopped would not hear it
    wait_gone(heads, grace_s)
    rest = [*members, *family(None, mark)]
    send(rest, signal.SIGKILL)
    wait_gone(rest, 10)
    return len(members)


def _parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return 0


def _mark(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):  # gone by now, a zombie, or another user's
        return ""
