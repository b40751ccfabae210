"""Workers as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from infra.launch.base import State
from infra.launch.lifeline import GRACE_S, MARK, end, started_by
from infra.launch.nodes import beside, variables
from infra.launch.resources import Resources


class LocalJob:
    """Worker processes, one a node, that hold on to us by their standard input."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], mark: str) -> None:
        self.processes, self._mark = tuple(processes), mark

    def poll(self) -> int | None:
        statuses = [process.poll() for process in self.processes]
        if None in statuses:
            return None
        return next((status for status in statuses if status), 0)

    def state(self) -> State:
        return State()

    def stop(self) -> None:
        """SIGTERM, then after the grace SIGKILL, for the workers and all that they started, even where they are gone."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # one that was stopped would not hear it
        deadline = time.monotonic() + GRACE_S + 5  # each ends its own children first
        for process in running:
            _wait_or_kill(process, deadline)
        for process in self.processes:
            end(started_by(process.pid, self._mark), grace_s=0)
            if process.stdin is not None:
                process.stdin.close()


class LocalLauncher:
    """Starts workers beside the flow, each in a session of its own, so that Ctrl-C reaches only the flow.

    More nodes than one are so many workers on this machine that share the store and nothing else.
    """

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> LocalJob:
        nodes = resources.nodes if resources else 1
        log.parent.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex
        own = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", MARK: mark}
        # Threads that spin while they wait take the cores from each other: a merge took 230 s instead of 45 s.
        gentle = {"OMP_WAIT_POLICY": "passive"}
        processes = []
        for node in range(nodes):
            with beside(log, node).open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, spec],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=gentle | os.environ | environment | own | _of_node(environment, node, nodes),
                    start_new_session=True,
                )
            processes.append(process)
        return LocalJob(processes, mark)

    def find(self, _stage: str, _key: str, _resources: Resources, /) -> list[str]:
        """None: workers of this machine end with their flow."""
        return []


def _of_node(environment: dict[str, str], node: int, nodes: int) -> dict[str, str]:
    """A node's place; and a home of its own, where the first one's would be another machine's."""
    place, home = variables(node, nodes, "127.0.0.1" if nodes > 1 else ""), environment.get("LUTHIER_HOME")
    return place if node == 0 or home is None else place | {"LUTHIER_HOME": str(Path(home) / f"node-{node}")}


def _wait_or_kill(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        end(started_by(process.pid), grace_s=0)
        process.kill()
        process.wait()
