"""What every launcher offers: start one worker, ask about it, end it."""

from pathlib import Path
from typing import Protocol


class Job(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def stop(self) -> None:
        """End it and everything it started, within its grace; safe to call at any time, more than once."""


class Launcher(Protocol):
    """A place where workers run."""

    def start(self, module: str, spec: str, environment: dict[str, str], log: Path) -> Job:
        """Run `python -m module spec` with these variables besides the launcher's own; output goes to `log`."""
