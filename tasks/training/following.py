"""The worker's eye on its ranks: are they there, do they move, which one does not, and how did they end?"""

import logging
import signal
import time
from pathlib import Path

import psutil

from infra.errors import Crashed, LinkLost, LuthierError, Unreachable
from infra.frozen import Frozen
from infra.launch.links import Links, Reached
from infra.launch.peers import Peers
from tasks.training.presence import ADDING, JOINING, LOADING, Presence, present, stack_file
from tasks.training.ranks import failure, kernel_kills, reports

log = logging.getLogger(__name__)

ADD_S = 60.0  # for the sum over all ranks, which takes the connections of all to be opened
START_S = 600.0  # to import everything, from a slow disk too, and to find each other
LINGER_S = 30.0  # for a rank that has reported an error to be gone; torchrun gives the others as long
STACK_S = 5.0
STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP, "gone")
PARTED = "parted.json"  # a node's ways to the others, when its ranks had died


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
    """All ranks of a node as its watch found them, and its ways to the other nodes."""

    ranks: tuple[Standing, ...] = ()
    reached: Reached = Reached()


class Watch:
    """Deadlines of the ranks of one node. `step_s` is how long no rank may get on with anything once all are there."""

    def __init__(
        self,
        scratch: Path,
        here: int,
        step_s: float,
        start_s: float = START_S,
        peers: Peers | None = None,
        links: Links | None = None,
    ) -> None:
        self._scratch, self._step_s, self._start_s = scratch, step_s, start_s
        self._peers, self._links = peers, links
        self._node, self._nodes = (peers.place.node, peers.place.nodes) if peers else (0, 1)
        self._ranks = range(self._node * here, (self._node + 1) * here)
        self._seen: list[Presence] = []
        self._began = time.monotonic()
        self._kills = kernel_kills()

    def look(self) -> None:
        """Unreachable where the ranks do not start or stand still, with what each of them is at; LinkLost where that is
        because nodes do not reach each other any more, NodeLost where one is gone."""
        self._seen = present(self._scratch)
        # By what the ranks noted: whoever looks may have been held up by something else.
        still = time.monotonic() - max([self._began, *(rank.since for rank in self._seen)])
        if still > LINGER_S and (said := reports(self._scratch)):
            raise said[0]
        if not self._together() and still > self._start_s:
            raise self._never_started()
        if self._together() and still > self._within_s():
            raise self._hung()

    def end(self, status: int) -> LuthierError:
        """Why they failed, once they have: what they or another node's said, or that something between nodes is gone."""
        error = failure(self._scratch, status, self._kills)
        if self._peers is None or self._links is None or not isinstance(error, Crashed):
            return error
        own = Standings(reached=self._links.reach())
        self._peers.tell(PARTED, own)  # before this node's outcome, for which the first one waits
        error = self._peers.why(error)
        if type(error) is not Crashed or self._node:
            return error
        every = {self._node: own} | {node: told for node in range(1, self._nodes) if (told := self._told(PARTED, node))}
        return self._parted(every, error.value) or error

    def at(self) -> str:
        """What the rank that is furthest is at, in words; empty where none has said anything."""
        last = max(self._seen, key=lambda rank: (rank.step, rank.since), default=None)
        return "" if last is None else f"{last.phase} at step {last.step}" if last.step else last.phase

    def training(self) -> bool:
        """Whether a rank has come to the first step."""
        return any(rank.phase not in (JOINING, ADDING, LOADING) for rank in present(self._scratch))

    def _together(self) -> bool:
        return len(self._seen) == len(self._ranks) and all(rank.phase != JOINING for rank in self._seen)

    def _within_s(self) -> float:
        return ADD_S if any(rank.phase == ADDING for rank in self._seen) else self._step_s

    def _never_started(self) -> LuthierError:
        own = {self._node: Standings(reached=self._links.reach())} if self._links else {}
        said = "; ".join(_standing(rank, self._node).line() for rank in self._seen)
        if parted := self._parted(own, said):
            return parted
        absent = sorted(set(self._ranks) - {rank.rank for rank in self._seen})
        who = f"rank {', '.join(map(str, absent))} did not come up" if absent else "the ranks did not find each other"
        return Unreachable(
            f"training did not start in {self._start_s:.0f} s: {who}",
            place=_stacks(self._scratch, self._seen)[0] if self._seen else "",
            value=said,
            remedy="the log has what they waited on; GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names their network",
        )

    def _hung(self) -> LuthierError:
        within_s = self._within_s()
        found = [_standing(rank, self._node) for rank in self._seen]  # before they are woken for their stacks
        places = _stacks(self._scratch, self._seen)
        ranks = [rank.model_copy(update={"place": place}) for rank, place in zip(found, places, strict=True)]
        own = Standings(ranks=tuple(ranks), reached=self._links.reach() if self._links else Reached())
        every = {self._node: own} | self._elsewhere(own)
        ranks = [rank for node in sorted(every) for rank in every[node].ranks]
        said = "; ".join(f"{rank.line()} in {rank.place}" for rank in ranks)
        suspect, why = _suspect(ranks)
        if suspect.state not in STOPPED and (parted := self._parted(every, said)):
            return parted
        who = f"{suspect.rank} on node {suspect.node}" if self._nodes > 1 else str(suspect.rank)
        return Unreachable(
            f"training stood still for {within_s:.0f} s: rank {who} (pid {suspect.pid}) {why}",
            place=suspect.place,
            value=said,
            remedy="it goes on from its newest checkpoint; the log has all stacks; raise train.ddp_timeout for slower steps",
        )

    def _parted(self, every: dict[int, Standings], said: str) -> LinkLost | None:
        """That some nodes do not reach each other any more, if that is so."""
        found = {node: told.reached for node, told in every.items()}
        dark = self._links.dark(found) if self._links else ""
        if self._links is None or not dark:
            return None
        return LinkLost(
            f"{dark} any more",
            place=self._links.whys(found),
            value=said,
            remedy="it goes on from the newest checkpoint once they do; see the link, the switch and the firewall between them",
        )

    def _elsewhere(self, own: Standings) -> dict[int, Standings]:
        """What the watches of the other nodes found, for the first to name one of all; the others leave that to it."""
        if self._peers is None or self._nodes == 1:
            return {}
        self._peers.tell("standing.json", own)
        self._peers.hurry()  # one that is gone, and no rank, is then what all wait for
        end, found = time.monotonic() + LINGER_S, dict[int, Standings]()
        while len(found) < self._nodes - 1 and time.monotonic() < end:
            self._peers.look()
            if self._node == 0:
                told = {node: self._told("standing.json", node) for node in range(1, self._nodes) if node not in found}
                found |= {node: one for node, one in told.items() if one is not None}
            time.sleep(0.1)
        return found

    def _told(self, name: str, node: int) -> Standings | None:
        return self._peers.read(name, Standings, node) if self._peers else None


def _suspect(ranks: list[Standing]) -> tuple[Standing, str]:
    """The rank that most likely keeps the others waiting, and what speaks for it."""
    for rank in ranks:
        if rank.state in STOPPED:
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
