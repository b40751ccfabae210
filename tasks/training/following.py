"""The worker's eye on its ranks: are they there, do they move, which one does not, and how did they end?"""

import logging
import signal
import time
from pathlib import Path

import psutil

from infra.errors import LuthierError, Unreachable
from tasks.training.presence import JOINING, LOADING, Presence, present, stack_file
from tasks.training.ranks import failure, kernel_kills, reports

log = logging.getLogger(__name__)

START_S = 600.0  # to import everything, from a slow disk too, and to find each other
LINGER_S = 30.0  # for a rank that has reported an error to be gone; torchrun gives the others as long
STACK_S = 5.0


class Watch:
    """Deadlines of the ranks of one node. `step_s` is how long no rank may get on with anything once all are there."""

    def __init__(self, scratch: Path, world: int, step_s: float, start_s: float = START_S) -> None:
        self._scratch, self._world, self._step_s, self._start_s = scratch, world, step_s, start_s
        self._seen: list[Presence] = []
        self._began = time.monotonic()
        self._kills = kernel_kills()

    def look(self) -> None:
        """Unreachable where the ranks do not start or stand still, with what each of them is at."""
        self._seen = present(self._scratch)
        # By what the ranks noted: whoever looks may have been held up by something else.
        still = time.monotonic() - max([self._began, *(rank.since for rank in self._seen)])
        if still > LINGER_S and (said := reports(self._scratch)):
            raise said[0]
        if not self._together() and still > self._start_s:
            raise self._never_started()
        if self._together() and still > self._step_s:
            raise self._hung()

    def end(self, status: int) -> LuthierError:
        """Why they failed, once they have."""
        return failure(self._scratch, status, self._kills)

    def training(self) -> bool:
        """Whether a rank has come to the first step."""
        return any(rank.phase not in (JOINING, LOADING) for rank in present(self._scratch))

    def _together(self) -> bool:
        return len(self._seen) == self._world and all(rank.phase != JOINING for rank in self._seen)

    def _never_started(self) -> Unreachable:
        absent = sorted(set(range(self._world)) - {rank.rank for rank in self._seen})
        who = f"rank {', '.join(map(str, absent))} did not come up" if absent else "the ranks did not find each other"
        return Unreachable(
            f"training did not start in {self._start_s:.0f} s: {who}",
            place=_stacks(self._scratch, self._seen)[0] if self._seen else "",
            value="; ".join(_line(rank) for rank in self._seen),
            remedy="the log has what they waited on; GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names their network",
        )

    def _hung(self) -> Unreachable:
        suspect, why = _suspect(self._seen)
        lines = [_line(rank) for rank in self._seen]  # before they are woken for their stacks
        places = _stacks(self._scratch, self._seen)
        return Unreachable(
            f"training stood still for {self._step_s:.0f} s: rank {suspect.rank} (pid {suspect.pid}) {why}",
            place=places[self._seen.index(suspect)],
            value="; ".join(f"{line} in {place}" for line, place in zip(lines, places, strict=True)),
            remedy="it goes on from its newest checkpoint; the log has all stacks; raise train.ddp_timeout for slower steps",
        )


def _suspect(ranks: list[Presence]) -> tuple[Presence, str]:
    """The rank that most likely keeps the others waiting, and what speaks for it."""
    for rank in ranks:
        state = _state(rank)
        if state in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP, "gone"):
            return rank, f"is {state}"
    last = min(ranks, key=lambda rank: (rank.step, rank.part))
    if (last.step, last.part) == max((rank.step, rank.part) for rank in ranks):
        return last, "and the others are equally far" if len(ranks) > 1 else "hangs, or its step takes longer"
    return last, f"is behind the others, at step {last.step}"


def _line(rank: Presence) -> str:
    return f"rank {rank.rank} (pid {rank.pid}, {_state(rank)}) {rank.phase} {rank.step or ''}".rstrip()


def _state(rank: Presence) -> str:
    try:
        return str(psutil.Process(rank.pid).status())
    except psutil.NoSuchProcess:
        return "gone"


def _stacks(scratch: Path, ranks: list[Presence]) -> list[str]:
    """Have every rank write its stack, put all into the log, and return where each one is: `file:line function`."""
    for rank in ranks:
        try:
            process = psutil.Process(rank.pid)
            process.send_signal(signal.SIGUSR1)
            process.send_signal(signal.SIGCONT)  # one that was stopped writes once it goes on
        except psutil.NoSuchProcess:
            log.error("rank %d (pid %d) is gone", rank.rank, rank.pid)
    end = time.monotonic() + STACK_S
    files = [stack_file(scratch, rank.rank) for rank in ranks]
    while not all(_whole(file) for file in files) and time.monotonic() < end:
        time.sleep(0.1)
    for rank, file in zip(ranks, files, strict=True):
        log.error("rank %d (pid %d):\n%s", rank.rank, rank.pid, file.read_text(errors="replace"))
    return [_innermost(file.read_text(errors="replace")) for file in files]


def _whole(file: Path) -> bool:
    # A frame of the program's start is the last that is written.
    return "in <module>" in file.read_text(errors="replace")


def _innermost(stack: str) -> str:
    """Where the main thread is, of faulthandler's text; any other thread may have taken the signal."""
    main = next((thread for thread in stack.split("\n\n") if "in <module>" in thread), "")
    for line in main.splitlines()[1:]:
        name, _, where = line.strip().removeprefix('File "').partition('", line ')
        number, _, function = where.partition(" in ")
        return f"{'/'.join(Path(name).parts[-3:])}:{number} {function}"
    return "no Python frame"
