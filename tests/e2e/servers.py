"""Real Prefect and MLflow servers on loopback, for the length of a `with`; nothing of them is left afterwards."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
START_S = 120.0


@contextlib.contextmanager
def process(
    command: list[str], environment: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command with all its children: ended by SIGTERM, then SIGKILL, when the block is left."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        family = (
            [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            if running.poll() is None
            else []
        )
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=15)
        for member in alive:
            member.kill()
        running.wait()


@contextlib.contextmanager
def prefect_server(port: int, folder: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on sqlite; yields the environment of its clients."""
    environment = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
    }
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with process(command, environment, folder / "prefect-server.log") as running:
        wait_for(f"http://127.0.0.1:{port}/api/health", running, folder / "prefect-server.log")
        yield environment


@contextlib.contextmanager
def mlflow_server(port: int, folder: Path, artifacts: str) -> Iterator[dict[str, str]]:
    """An MLflow server on sqlite; yields the environment of its clients."""
    command = [
        *(str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow-server.db", "--artifacts-destination", artifacts),
    ]
    with process(command, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, folder / "mlflow-server.log") as running:
        wait_for(f"http://127.0.0.1:{port}/health", running, folder / "mlflow-server.log")
        yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}


def wait_for(url: str, running: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the address answers 200; the log's end where it never does."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert running.poll() is None, f"it ended: {log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer: {log.read_text()[-2000:]}")
