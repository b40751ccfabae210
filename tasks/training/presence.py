"""Where every rank is: a small file each, written by the rank, read by its worker; and a stack on SIGUSR1."""

import faulthandler
import os
import signal
import time
from pathlib import Path

from infra.frozen import Frozen, canonical

JOINING, ADDING = "joining the other ranks", "adding up over all ranks"
LOADING, TRAINING, VALIDATING = "loading the model", "training", "validating"
ADDED = "added.json"
_FILE = "presence-{}.json"


class Presence(Frozen):
    """One rank: its process, what it is at, how far it has come in that, and since when by the clock of this node."""

    rank: int
    pid: int
    since: float
    phase: str
    step: int = 0
    part: int = 0


class Added(Frozen):
    """The sum of all ranks, as rank 0 saw it."""

    backend: str
    ranks: int
    nodes: int
    size: int
    seconds: float

    def line(self) -> str:
        """The figure for people: bytes that a rank sends and receives each way, a second, in a ring of all."""
        speed = 2 * (self.ranks - 1) / self.ranks * self.size / self.seconds / 1e9
        return f"{self.ranks} ranks of {self.nodes} nodes, {self.backend}: {speed:.2g} GB/s"


class Telling:
    """The rank's side. A rank that does not move any more still shows its stack: no Python runs for that."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._rank = scratch, int(os.environ.get("RANK", "0"))
        self._stack = stack_file(scratch, self._rank).open("w")
        faulthandler.register(signal.SIGUSR1, self._stack, all_threads=True)

    def at(self, phase: str, step: int = 0, part: int = 0) -> None:
        """Say what this rank does from now on."""
        now = Presence(rank=self._rank, pid=os.getpid(), since=time.monotonic(), phase=phase, step=step, part=part)
        whole(self._scratch / _FILE.format(self._rank), now)


def whole(path: Path, value: Frozen) -> None:
    """Write a value so that no reader sees half of it."""
    half = path.with_suffix(".half")
    half.write_bytes(canonical(value.model_dump(mode="json")))
    half.replace(path)


def present(scratch: Path) -> list[Presence]:
    """All ranks that have said something, in order."""
    found = [Presence.model_validate_json(path.read_bytes()) for path in scratch.glob(_FILE.format("*"))]
    return sorted(found, key=lambda presence: presence.rank)


def stack_file(scratch: Path, rank: int) -> Path:
    """Where a rank writes its stack on SIGUSR1."""
    return scratch / f"stack-{rank}.txt"
