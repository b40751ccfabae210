"""Where every rank is: a small file each, written by the rank, read by its worker; and a stack on SIGUSR1."""

import faulthandler
import os
import signal
import time
from pathlib import Path

from infra.frozen import Frozen, canonical

JOINING, LOADING, TRAINING, VALIDATING = "joining the other ranks", "loading the model", "training", "validating"
_FILE = "presence-{}.json"


class Presence(Frozen):
    """One rank: its process, what it is at, how far it has come in that, and since when by the clock of this node."""

    rank: int
    pid: int
    since: float
    phase: str
    step: int = 0
    part: int = 0


class Telling:
    """The rank's side. A rank that does not move any more still shows its stack: no Python runs for that."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._rank = scratch, int(os.environ.get("RANK", "0"))
        self._stack = stack_file(scratch, self._rank).open("w")
        faulthandler.register(signal.SIGUSR1, self._stack, all_threads=True)

    def at(self, phase: str, step: int = 0, part: int = 0) -> None:
        """Say what this rank does from now on."""
        now = Presence(rank=self._rank, pid=os.getpid(), since=time.monotonic(), phase=phase, step=step, part=part)
        path = self._scratch / _FILE.format(self._rank)
        half = path.with_suffix(".half")
        half.write_bytes(canonical(now.model_dump(mode="json")))
        half.replace(path)


def present(scratch: Path) -> list[Presence]:
    """All ranks that have said something, in order."""
    found = [Presence.model_validate_json(path.read_bytes()) for path in scratch.glob(_FILE.format("*"))]
    return sorted(found, key=lambda presence: presence.rank)


def stack_file(scratch: Path, rank: int) -> Path:
    """Where a rank writes its stack on SIGUSR1."""
    return scratch / f"stack-{rank}.txt"
