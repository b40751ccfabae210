"""The worker's eye on its ranks: are they there, do they move, which one does not, and how did they end?"""

import logging
import signal
import time
from pathlib import Path

import psutil

from infra.errors import LuthierError, Unreachable
from infra.frozen import Frozen
from infra.launch.peers import Peers
from tasks.training.presence import JOINING, LOADING, Presence, present, stack_file
from tasks.training.ranks import failure, kernel_kills, reports

log = logging.getLogger(__name__)

START_S = 600.0  # to import everything, from a slow disk too, and to find each other
LINGER_S = 30.0  # for a rank that has reported an error to be gone; torchrun gives the others as long
STACK_S = 5.0


class Standing(Frozen):
    """A rank that does not get on: how its process is, how far it came, and where its stack ends."""

    rank: int
    node: int
    pid: int
    state: str
    phase: str
    step: int
    part: int
    place: str = ""

    def line(self) -> str:
        """The rank in a few words."""
        return f"rank {self.rank} (pid {self.pid}, {self.state}) {self.phase} {self.step or ''}".rstrip()


class Standings(Frozen):
    """All ranks of a node, as its watch found them."""

    ranks: list[Standing]


class Watch:
    """Deadlines of the ranks of one node. `step_s` is how long no rank may get on with anything once all are there."""

    def __init__(
        self, scratch: Path, here: int, step_s: float, start_s: float = START_S, peers: Peers | None = None
    ) -> None:
        self._scratch, self._step_s, self._start_s, self._peers = scratch, step_s, start_s, peers
        self._node, self._nodes = (peers.place.node, peers.place.nodes) if peers else (0, 1)
        self._ranks = range(self._node * here, (self._node + 1) * here)
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
        return len(self._seen) == len(self._ranks) and all(rank.phase != JOINING for rank in self._seen)

    def _never_started(self) -> Unreachable:
        absent = sorted(set(self._ranks) - {rank.rank for rank in self._seen})
        who = f"rank {', '.join(map(str, absent))} did not come up" if absent else "the ranks did not find each other"
        return Unreachable(
            f"training did not start in {self._start_s:.0f} s: {who}",
            place=_stacks(self._scratch, self._seen)[0] if self._seen else "",
            value="; ".join(_standing(rank, self._node).line() for rank in self._seen),
            remedy="the log has what they waited on; GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names their network",
        )

    def _hung(self) -> Unreachable:
        found = [_standing(rank, self._node) for rank in self._seen]  # before they are woken for their stacks
        places = _stacks(self._scratch, self._seen)
        own = [rank.model_copy(update={"place": place}) for rank, place in zip(found, places, strict=True)]
        every = [*own, *self._elsewhere(own)]
        suspect, why = _suspect(every)
        who = f"{suspect.rank} on node {suspect.node}" if self._nodes > 1 else str(suspect.rank)
        return Unreachable(
            f"training stood still for {self._step_s:.0f} s: rank {who} (pid {suspect.pid}) {why}",
            place=suspect.place,
            value="; ".join(f"{rank.line()} in {rank.place}" for rank in every),
            remedy="it goes on from its newest checkpoint; the log has all stacks; raise train.ddp_timeout for slower steps",
        )

    def _elsewhere(self, own: list[Standing]) -> list[Standing]:
        """What the watches of the other nodes found, for the first to name one of all; the others leave that to it."""
        if self._peers is None or self._nodes == 1:
            return []
        self._peers.tell("standing.json", Standings(ranks=own))
        end, found, missing = time.monotonic() + LINGER_S, list[Standing](), set(range(self._nodes)) - {self._node}
        while missing and time.monotonic() < end:
            self._peers.look()
            for node in sorted(missing):
                told = self._peers.read("standing.json", Standings, node) if self._node == 0 else None
                if told is not None:
                    found += told.ranks
                    missing.discard(node)
            time.sleep(0.1)
        return found


def _suspect(ranks: list[Standing]) -> tuple[Standing, str]:
    """The rank that most likely keeps the others waiting, and what speaks for it."""
    for rank in ranks:
        if rank.state in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP, "gone"):
            return rank, f"is {rank.state}"
    last = min(ranks, key=lambda rank: (rank.step, rank.part))
    if (last.step, last.part) == max((rank.step, rank.part) for rank in ranks):
        return last, "and the others are equally far" if len(ranks) > 1 else "hangs, or its step takes longer"
    return last, f"is behind the others, at step {last.step}"


def _standing(rank: Presence, node: int) -> Standing:
    told = rank.model_dump(exclude={"since"})
    return Standing(node=node, state=_state(rank), **told)


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
