"""What became of every launch of a step, kept beside its jobs for people to read; nothing is decided by it."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from infra.errors import Adapted, LuthierError
from infra.frozen import canonical
from infra.launch.step import Beat, Launch, Step
from infra.settings import Platform
from infra.storage import layout

log = logging.getLogger(__name__)

RUNNING = "running"
SHOWN = 20  # launches; older ones stay in the store


class History:
    """One launch among the others at its key; `tell` is given all of them once one has failed."""

    def __init__(self, step: Step, attempt: str, platform: Platform, tell: Callable[[Beat], None]) -> None:
        self._step, self._platform, self._tell = step, platform, tell
        self._launch = Launch(attempt=attempt, started=_now(), outcome=RUNNING)
        self._placed: dict[str, str] = {}
        self._put()

    def placed(self, notes: dict[str, str]) -> None:
        """What the launcher notes about the place: the job's number, how long it was in the queue."""
        self._placed = notes
        self._launch = self._launch.model_copy(update={"notes": self._launch.notes | notes})

    def heard(self, beat: Beat) -> None:
        """What the worker notes about itself."""
        self._launch = self._launch.model_copy(update={"notes": self._placed | beat.notes})

    def committed(self) -> None:
        """The launch has made the artifact."""
        self._end("committed")

    def failed(self, error: LuthierError) -> None:
        """The launch ended with an error; what follows changes if the error says so."""
        reason = " ".join(part for part in (error.what, error.place, error.value) if part)
        self._end(type(error).__name__, reason, error.remedy if isinstance(error, Adapted) else "")

    def _end(self, outcome: str, reason: str = "", change: str = "") -> None:
        told = {"ended": _now(), "outcome": outcome, "reason": reason, "change": change}
        self._launch = self._launch.model_copy(update=told)
        self._put()
        try:
            launches = self._all()
        except LuthierError as error:
            log.warning("%s: earlier launches cannot be read: %s", self._step.stage, error)
            return
        if any(launch.outcome != "committed" for launch in launches):
            phase = f"launch {len(launches)}: {outcome}"
            self._tell(Beat(at=time.time(), phase=phase, launches=launches[-SHOWN:]))

    def _put(self) -> None:
        at = layout.job(self._step.stage, self._step.key, self._launch.attempt, "launch.json")
        try:
            self._platform.store.objects.put(at, canonical(self._launch.model_dump(mode="json")))
        except LuthierError as error:  # the error of the launch itself must not be lost over this
            log.warning("%s: the launch cannot be noted: %s", self._step.stage, error)

    def _all(self) -> list[Launch]:
        objects = self._platform.store.objects
        names = objects.list(layout.jobs(self._step.stage, self._step.key) + "/")
        found = (objects.get(name) for name in names if name.endswith("/launch.json"))
        return sorted((Launch.model_validate_json(data) for data in found if data), key=lambda launch: launch.started)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
