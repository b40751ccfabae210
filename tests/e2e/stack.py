"""A stack made by `luthier up` in a home of its own, handled by the command line as a person would."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.stack import environment, ports
from infra.stack.health import call
from infra.stack.state import Folder, State
from infra.stack.supervise import ROLES
from tests.e2e import commands
from tests.s3 import free_ports

SERVICES = ("s3", "prefect", "mlflow", "worker")


@dataclass(frozen=True)
class Stack:
    """A stack by its home, handled from a folder with a prefect.yaml."""

    home: Path
    project: Path = commands.ROOT

    def __call__(self, *arguments: str, status: int = 0, **extra: str) -> str:
        """`luthier …`; its output, once the exit status is as expected."""
        ready = {**commands.plain(), "LUTHIER_HOME": str(self.home), **extra}
        return commands.run([str(commands.BIN / "luthier"), *arguments], ready, 400, status, self.project)

    def shell(self, line: str, timeout_s: float) -> str:
        """A line typed into a shell that has read stack.env, as docs/stack.md tells; its output once it succeeded."""
        ready = {**commands.plain(), "PREFECT_HOME": str(self.home / "client")}
        lines = f"set -euo pipefail; set -a; . '{self.folder.env}'; set +a; {line}"
        return commands.run(["bash", "-c", lines], ready, timeout_s)

    @property
    def folder(self) -> Folder:
        return Folder(self.home)

    @property
    def variables(self) -> dict[str, str]:
        return environment.read(self.folder.env)

    def mlflow(self, path: str, body: Any = None) -> Any:
        """A request of MLflow's admin: POST with a body, GET without."""
        known = self.variables
        auth = f"{known['MLFLOW_TRACKING_USERNAME']}:{known['MLFLOW_TRACKING_PASSWORD']}"
        method = "GET" if body is None else "POST"
        return call(f"{known['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{path}", auth, body, method)

    def prefect(self, path: str, body: Any = None) -> Any:
        """The same of Prefect's server."""
        known = self.variables
        method = "GET" if body is None else "POST"
        return call(f"{known['PREFECT_API_URL']}/{path}", known["PREFECT_API_AUTH_STRING"], body, method)

    def pids(self) -> dict[str, int]:
        """The process of each service, once all are up."""
        lines = json.loads(self("status", "--json"))
        return {line["service"]: line["pid"] for line in lines}

    def processes(self) -> list[psutil.Process]:
        """Everything that carries this stack's mark."""
        mark = self.folder.state().stack
        return [process for process in psutil.process_iter() if mark in _environment(process)]


def _environment(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("LUTHIER_STACK", ""))
    except (psutil.Error, OSError):
        return ""


def begin(home: Path, project: Path = commands.ROOT) -> Stack:
    """A stack on ports that nobody else uses: as if they had been remembered."""
    stack = Stack(home, project)
    stack.folder.keep(State(ports=dict(zip(ROLES, free_ports(len(ROLES)), strict=True))))
    return stack


def finish(stack: Stack) -> None:
    """End it; nothing of it may be left."""
    stack("down")
    assert_gone(stack)


def assert_gone(stack: Stack) -> None:
    """No process, no port and no socket of it is left."""
    state = stack.folder.state()
    assert not stack.processes()
    assert not [role for role, port in state.ports.items() if not ports.free(port)]
    assert not list(Path("/tmp").glob(f"seaweedfs-*-grpc-{state.ports['s3'] + 10000}.sock"))
