"""Who follows a job of a cluster: files in a folder that flow and workers share, renewed while a flow is there.

A pipe ties a worker on this machine to its flow. Between machines there is none, so a job ends itself when nobody has
followed it for some time.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

FOLLOWED = "LUTHIER_FOLLOWED"  # `<seconds> <folder>`
RENEW_S = 5.0
FRESH_S = 30.0


class Follower:
    """The flow's side: one file for each flow that follows, by a name of its own."""

    def __init__(self, folder: Path, who: str = "") -> None:
        self._file = folder / f"followed-{who or uuid.uuid4().hex}"
        self._renewed = 0.0

    def renew(self) -> None:
        """Say that this flow is still there."""
        if time.monotonic() - self._renewed < RENEW_S:
            return
        try:
            self._file.write_text(str(time.time()))
            self._renewed = time.monotonic()
        except OSError as error:  # a file server that is away must not end a job that goes on
            log.warning("the job cannot be told that it is followed: %s", error)

    def others(self) -> bool:
        """Whether another flow follows too; by the clock of the file server alone."""
        self._renewed = 0.0
        self.renew()
        now = _age(self._file)
        folder = self._file.parent
        return any(file != self._file and now - _age(file) < FRESH_S for file in folder.glob("followed-*"))

    def leave(self) -> None:
        """This flow follows no more."""
        self._file.unlink(missing_ok=True)


def hold_on(told: str, leave: Callable[[], None]) -> None:
    """The worker's side: leave once nothing in the folder changes for the time that is told."""
    seconds, _, folder = told.partition(" ")
    arguments = (Path(folder), float(seconds), leave)
    watching = threading.Thread(target=_watch, args=arguments, daemon=True, name="following")
    watching.start()


def _watch(folder: Path, patience_s: float, leave: Callable[[], None]) -> None:
    before, at = _state(folder), time.monotonic()
    while time.monotonic() - at < patience_s:
        time.sleep(min(RENEW_S, patience_s / 4))
        now = _state(folder)
        if now is None or now != before:  # a folder that cannot be read says nothing of the flow
            before, at = now, time.monotonic()
    log.error("nobody has followed this job for %.0f s: it saves and ends", patience_s)
    leave()


def _state(folder: Path) -> list[tuple[str, str]] | None:
    try:
        return sorted((file.name, file.read_text()) for file in folder.glob("followed-*"))
    except OSError:
        return None


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
