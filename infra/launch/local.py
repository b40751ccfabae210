"""Workers as processes of this machine."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from infra.launch.lifeline import GRACE_S, MARK, end, started_by


class LocalJob:
    """A worker process that holds on to us by its standard input."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self._process, self._mark = process, mark

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        """SIGTERM, then after the grace SIGKILL, for the worker and all that it started, even where it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # one that was stopped would not hear it
            try:
                self._process.wait(GRACE_S + 5)  # it ends its own children first
            except subprocess.TimeoutExpired:
                end(started_by(self._process.pid), grace_s=0)
                self._process.kill()
                self._process.wait()
        end(started_by(self._process.pid, self._mark), grace_s=0)
        if self._process.stdin is not None:
            self._process.stdin.close()


class LocalLauncher:
    """Starts workers beside the flow, each in a session of its own, so that Ctrl-C reaches only the flow."""

    def start(self, module: str, spec: str, environment: dict[str, str], log: Path) -> LocalJob:
        log.parent.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex
        own = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", MARK: mark}
        # Threads that spin while they wait take the cores from each other: a merge took 230 s instead of 45 s.
        gentle = {"OMP_WAIT_POLICY": "passive"}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, spec],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=gentle | os.environ | environment | own,
                start_new_session=True,
            )
        return LocalJob(process, mark)
