"""SIGTERM for a worker whose children have something to finish first: it is noted, passed on, and has a deadline."""

import signal
import time
from types import TracebackType
from typing import Self

import psutil

from infra.errors import Preempted
from infra.launch.lifeline import GRACE_S


class Leaving:
    """Inside the block SIGTERM goes to the children of a process, and ends nothing; a second one after it is ignored.

    They are told in the handler, so that whatever the worker is busy with does not take from their time.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._at: float | None = None
        self._told: set[int] = set()

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, lambda *_: self.ask())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self.asked else self._before)

    @property
    def asked(self) -> bool:
        """Whether this worker was told to leave."""
        return self._at is not None

    def ask(self) -> None:
        """What the signal does: the children are told, and their time runs."""
        self._at = self._at or time.monotonic()
        self._pass_on()

    def look(self) -> None:
        """Once asked, tell those that came later too; Preempted where the grace was not enough for them."""
        if self._at is None:
            return
        if time.monotonic() - self._at > GRACE_S:
            raise Preempted("the worker was told to end (SIGTERM), and what it had started did not in time")
        self._pass_on()

    def _pass_on(self) -> None:
        try:
            children = psutil.Process(self._parent).children()
        except psutil.NoSuchProcess:
            return
        for child in children:
            if child.pid not in self._told:
                self._told.add(child.pid)
                try:
                    child.terminate()
                except psutil.NoSuchProcess:
                    continue
