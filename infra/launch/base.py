"""What every launcher offers: start the workers of a stage, one a node, ask about them, end them."""

from pathlib import Path
from typing import Protocol

from pydantic import Field

from infra.frozen import Frozen
from infra.launch.resources import Resources


class State(Frozen):
    """What a launcher knows of a job: what it waits for, how often it was begun anew, and notes for people."""

    waiting: str = ""
    restarts: int = 0
    notes: dict[str, str] = Field(default_factory=dict)


class Job(Protocol):
    """The workers that were started together, one a node; they are one thing."""

    def poll(self) -> int | None:
        """None while any of them runs, then 0 where all ended so; else the status of the first node that did not."""

    def state(self) -> State:
        """What is known of it now, beside that."""

    def stop(self) -> None:
        """End them and everything they started, within their grace; safe to call at any time, more than once."""


class Launcher(Protocol):
    """A place where workers run."""

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> Job:
        """Run `python -m module spec` on every node with these variables besides the launcher's own.

        Each is told its place (infra/launch/nodes.py). Output of the first goes to `log`, that of others beside it
        (`nodes.beside`). Where workers of that spec run already, because their flow died, they are followed.
        """

    def find(self, stage: str, key: str, resources: Resources, /) -> list[str]:
        """The attempts at a key whose workers run although their flow may be gone."""
