"""A small Prefect server with a worker that takes one run at a time, the flow `approving` as a deployment, and versions to decide about."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.settings import Platform
from infra.stack.health import call
from infra.storage.receipt import Receipt
from infra.tracking.lookup import Lookup, Version
from infra.tracking.production import production
from tasks.registry import promotion
from tests import registered
from tests.e2e import commands
from tests.s3 import free_ports

ENDS = ("Completed", "Failed", "Crashed", "Cancelled")
POOL = "approvals"
PREFECT_YAML = """\
name: approvals
pull:
  - prefect.deployments.steps.set_working_directory: {{directory: {root}}}
deployments:
  - {{name: approving, entrypoint: "tests/e2e/approving.py:approving", work_pool: {{name: approvals}}}}
"""


@dataclass(frozen=True)
class Asking:
    """A server by its address, and the model whose versions are registered below `home`."""

    pages: str
    made: registered.Registered

    @property
    def on(self) -> Platform:
        return self.made.on

    def prefect(self, path: str, body: Any = None) -> Any:
        """A request of the server: POST with a body, GET without."""
        return call(f"{self.pages}/api/{path}", "", body, "GET" if body is None else "POST")

    def begin(self, version: Receipt, hours: float = 1) -> str:
        """A run that asks about a version; its id."""
        known = self.prefect("deployments/name/approving/approving")
        verdict = self.on.store.manifest(version).inputs["verdict"]
        given = {"version": version.model_dump(mode="json"), "verdict": verdict.model_dump(mode="json")}
        asked = {**given, "approval": {"ask": True, "hours": hours}}
        return str(self.prefect(f"deployments/{known['id']}/create_flow_run", {"parameters": asked})["id"])

    def reached(self, run: str, *names: str) -> Any:
        """The run's state, once it is one of these."""
        end = time.monotonic() + 240
        while True:
            state = self.prefect(f"flow_runs/{run}")["state"]
            if state["name"] in names:
                return state
            assert state["name"] not in ENDS, state
            assert time.monotonic() < end, state
            time.sleep(0.2)

    def events(self, run: str, wanted: str) -> list[str]:
        """The run's events, the newest first, once one of them is as wanted."""
        end = time.monotonic() + 60
        asked = {"filter": {"resource": {"id": [f"prefect.flow-run.{run}"]}}, "limit": 50}
        while True:
            found = [str(one["event"]) for one in self.prefect("events/filter", asked)["events"]]
            if wanted in found:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.2)

    def version(self, receipt: Receipt) -> Version:
        """What MLflow has of a version now."""
        return Lookup(self.on.tracking_uri).version(f"{receipt.summary['name']}/{receipt.summary['version']}")

    def promote(self, spec: str) -> None:
        """What `luthier promote` does."""
        one = Lookup(self.on.tracking_uri).version(spec)
        now = production(Lookup(self.on.tracking_uri), one.name)
        promotion.promote(self.on, one, now, "Bob")


@contextlib.contextmanager
def asking(folder: Path, made: registered.Registered) -> Iterator[Asking]:
    """All of it, for the length of the block."""
    (port,) = free_ports(1)
    pages = f"http://127.0.0.1:{port}"
    ready = {
        **commands.plain(),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{pages}/api",
        "PREFECT_SERVER_UI_API_URL": f"{pages}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "LUTHIER_HOME": str(made.on.home),
        "PYTHONPATH": str(commands.ROOT),
    }
    project = folder / "project"
    project.mkdir()
    (project / "prefect.yaml").write_text(PREFECT_YAML.format(root=json.dumps(str(commands.ROOT))))
    (project / "tests").symlink_to(commands.ROOT / "tests")
    with _running(["server", "start", "--host", "127.0.0.1", "--port", str(port)], folder, ready):
        here = Asking(pages, made)
        _await(here)
        here.prefect("work_pools/", {"name": POOL, "type": "process"})
        deploy = ["bash", "-c", f"cd '{project}' && prefect --no-prompt deploy --all"]
        commands.run(deploy, ready, 180)
        with _running(["worker", "start", "--pool", POOL, "--limit", "1"], folder, ready):
            yield here


def _await(server: Asking) -> None:
    end = time.monotonic() + 180
    while True:
        with contextlib.suppress(OSError):
            if server.prefect("health"):
                return
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.2)


@contextlib.contextmanager
def _running(arguments: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A prefect command, for the length of the block."""
    command = [str(commands.BIN / "prefect"), *arguments]
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=commands.ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        process.kill()
        process.wait()
