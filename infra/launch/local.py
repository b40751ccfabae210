"""Workers as processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from infra.launch.lifeline import GRACE_S, end_descendants


class LocalJob:
    """A worker process that holds on to us by its standard input."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        """SIGTERM, then after the grace SIGKILL, for the worker and all below it."""
        if self._process.poll() is None:
            below = psutil.Process(self._process.pid).children(recursive=True)
            self._process.terminate()
            try:
                self._process.wait(GRACE_S + 5)
            except subprocess.TimeoutExpired:
                end_descendants(self._process.pid, grace_s=0)
                self._process.kill()
                self._process.wait()
            _, alive = psutil.wait_procs(below, timeout=1)
            for process in alive:
                process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()


class LocalLauncher:
    """Starts workers beside the flow, each in a session of its own, so that Ctrl-C reaches only the flow."""

    def start(self, module: str, spec: str, environment: dict[str, str], log: Path) -> LocalJob:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return LocalJob(
                subprocess.Popen(
                    [sys.executable, "-m", module, spec],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=os.environ | environment | {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
            )
