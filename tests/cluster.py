"""A real Dask cluster on loopback, for the length of a `with`: a scheduler and workers, each a process with a home of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.s3 import free_ports

START_S = 60.0


@dataclass
class Cluster:
    """`homes` are the LUTHIER_HOMEs of the workers, which have no nanny: one that dies stays dead."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    homes: list[Path]

    def hold(self, number: int) -> None:
        """A worker stands still."""
        self.workers[number].send_signal(signal.SIGSTOP)

    def release(self, number: int) -> None:
        """It goes on."""
        self.workers[number].send_signal(signal.SIGCONT)

    def kill(self, number: int) -> None:
        """A worker, with SIGKILL."""
        self.workers[number].kill()
        self.workers[number].wait()


@contextlib.contextmanager
def cluster(folder: Path, workers: int, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Start it; the workers have no variable of ours but these. Nothing is left afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with contextlib.ExitStack() as stack:
        port = address.rpartition(":")[2]
        first = ["dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"]
        scheduler = stack.enter_context(_process(first, folder / "scheduler", {}))
        homes = [folder / f"home-{number}" for number in range(workers)]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--local-directory"]
        started = [
            stack.enter_context(
                _process(
                    ["dask_worker", address, *options, str(home)], home, {"LUTHIER_HOME": str(home), **environment}
                )
            )
            for home in homes
        ]
        made = Cluster(address, scheduler, started, homes)
        _wait(made)
        yield made


@contextlib.contextmanager
def _process(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "AWS_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
            env=own | {"PYTHONPATH": str(Path(__file__).parents[1])} | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _wait(made: Cluster) -> None:
    from distributed import Client  # noqa: PLC0415 - an extra, and slow

    deadline = time.monotonic() + START_S
    with Client(made.address, timeout=START_S, set_as_default=False) as client:
        if made.workers:
            client.wait_for_workers(len(made.workers), timeout=max(1, deadline - time.monotonic()))
