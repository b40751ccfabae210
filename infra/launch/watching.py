"""The worker of one node as its flow hears of it: its log, its end, and how long its machine has been out of reach."""

import logging
import time
from pathlib import Path

from infra.errors import Unreachable
from infra.launch.following import RENEW_S
from infra.launch.machines import Machines
from infra.launch.profile import Host
from infra.launch.ssh import Line

log = logging.getLogger(__name__)

AGAIN_S = 5.0
GONE = 143


class Watch:
    """One connection, made anew whenever it breaks: the worker does not notice."""

    def __init__(self, machines: Machines, host: Host, name: str, who: str, log_file: Path) -> None:
        self.host = host
        self._machines, self._name, self._who, self._log = machines, name, who, log_file
        self._line: Line | None = None
        self._status: int | None = None
        self._read, self._broken = 0, False
        self._heard = time.monotonic()
        self._tried = self._said = float("-inf")
        log_file.touch()

    @property
    def away_s(self) -> float:
        """How long nothing has been heard of the machine."""
        return time.monotonic() - self._heard

    def look(self) -> int | None:
        """The worker's exit status, once it is known. Refused where the machine is not the one that it was."""
        if self._status is not None:
            return self._status
        try:
            self._hear()
        except Unreachable as error:
            if not self._broken:  # once is enough
                log.warning("no connection to %s, where %s goes on: %s", self.host.ssh, self._name, error.value)
            self._broken = True
            self.close()
        return self._status

    def close(self) -> None:
        """Let go of the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _hear(self) -> None:
        now = time.monotonic()
        if self._line is None:
            if now - self._tried < AGAIN_S:
                return
            self._tried = now
            self._line = self._machines.watch(self.host, self._name, self._read, self._who)
        for told in self._line.hear():
            self._heard, self._broken = now, False
            if "log" in told:
                self._copy(told["log"].encode("latin-1"), told["at"])
            if "ended" in told:
                self._status = GONE if told["ended"] is None else told["ended"]
        if self._status is not None:
            self.close()
        elif now - self._said > RENEW_S:
            self._said = now
            self._line.say(b"\n")

    def _copy(self, text: bytes, at: int) -> None:
        with self._log.open("ab") as file:
            file.write(text)
        self._read = at
