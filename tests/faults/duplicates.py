"""R3: the same chain, gate and registry, run by eight at once through lines that lose replies."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient

from infra.errors import LuthierError
from infra.launch.step import Step, spec
from infra.launch.work import Inputs, Summary, Work, commit
from infra.settings import Platform
from infra.storage import layout
from infra.storage.receipt import Receipt
from infra.storage.s3 import S3Objects
from infra.storage.store import Store
from tasks.gate import stage as gate
from tasks.gate import worker as gate_worker
from tasks.gate.config import Bar, GateConfig
from tasks.registry import stage as registry
from tasks.registry import worker as registry_worker
from tasks.registry.config import RegisterConfig
from tests import jobs, registered
from tests.faults.kills import manifests
from tests.s3 import free_ports

DUPLICATES = 8
TRIES = 8  # each as Prefect's retries would


@dataclass(frozen=True)
class Before:
    """A store on S3 with all that a gate and a registry are handed; where MLflow is."""

    root: str
    tracking_uri: str
    made: dict[str, Receipt]

    def platform(self, home: Path) -> Platform:
        """One duplicate's own clients and folders."""
        store = Store(S3Objects(self.root, deadline_s=60))
        return replace(jobs.platform(home), store=store, tracking_uri=self.tracking_uri)


def before(room: Path, root: str, tracking_uri: str) -> Before:
    """Everything up to the evaluation, in the bucket."""
    made = registered.make(room / "home")
    for name, score in (("baseline", 0.25), ("scores", 0.75)):
        folder = room / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({"echo": {"exact_match": {"value": score}}}))
        (folder / "spec.json").write_text(json.dumps({"num_fewshot": 0}))
        summary: Summary = {"scores": {"echo": {"exact_match": score}}}
        made.inputs[name] = jobs.keep(made.on, "evaluation", folder, summary)
    there, here = S3Objects(root), made.on.store
    for key in here.objects.list("stages/"):
        there.put(key, here.objects.get(key) or b"")
    receipts = {
        name: one.model_copy(update={"uri": one.uri.replace(here.uri, root)}) for name, one in made.inputs.items()
    }
    return Before(root, tracking_uri, receipts)


def a_round(given: Before, number: int, room: Path) -> list[str]:
    """What is wrong after eight did the same at once."""
    begin, name = Barrier(DUPLICATES), f"duplicates-{number}"
    bar = Bar(task="echo", metric="exact_match", min=number / 1e6)

    def chain(index: int) -> tuple[Receipt, Receipt]:
        on = given.platform(room / str(index))
        begin.wait(60)
        judging = gate.step(GateConfig(bars=[bar]), given.made["baseline"], given.made["scores"])
        verdict = _again(lambda: _done(judging, gate_worker.work, on))
        others = (given.made[role] for role in ("scores", "baseline", "adapter", "dataset"))
        registering = registry.step(RegisterConfig(name=name), given.made["model"], verdict, *others)
        return verdict, _again(lambda: _done(registering, registry_worker.work, on))

    with ThreadPoolExecutor(DUPLICATES) as pool:
        ended = list(pool.map(chain, range(DUPLICATES)))
    shutil.rmtree(room)
    return _wrong(given, ended, name)


def _wrong(given: Before, ended: list[tuple[Receipt, Receipt]], name: str) -> list[str]:
    found = []
    on = given.platform(Path("/nonexistent"))
    for receipts in zip(*ended, strict=True):
        if len({receipt.attempt for receipt in receipts}) != 1:
            found.append(f"{receipts[0].stage}: several attempts were believed")
        home = layout.home(receipts[0].stage, receipts[0].key)
        records = [key for key in manifests(on) if key.startswith(home)]
        if len(records) != 1:
            found.append(f"records: {records}")
    client = MlflowClient(given.tracking_uri)
    versions = [int(one.version) for one in client.search_model_versions(f"name = '{name}'")]
    aliases = {alias: int(number) for alias, number in dict(client.get_registered_model(name).aliases).items()}
    if len(versions) != 1 or aliases != {"candidate": versions[0]}:
        found.append(f"versions {versions}, aliases {aliases}")
    return found


def _done(step: Step, work: Callable[[Work[Any]], Summary], on: Platform) -> Receipt:
    """As a stage and its worker, in this process."""
    known = None if step.always else on.store.find(step.stage, step.key)
    if known is not None:
        return on.store.receipt(known)
    attempt = uuid.uuid4().hex
    told, room = spec(step, attempt), on.home / "work" / attempt
    (room / "out").mkdir(parents=True)
    job = Work(step.config, Inputs(told, on, room / "inputs"), told, on, room / "out", room)
    return commit(on, told, job.out, work(job), job.parts)


def _again(run: Callable[[], Receipt]) -> Receipt:
    for _ in range(TRIES - 1):
        with contextlib.suppress(LuthierError):
            return run()
    return run()


@contextlib.contextmanager
def mlflow_server(room: Path) -> Iterator[str]:
    """A real tracking server on loopback, with a database of its own."""
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    room.mkdir(parents=True)
    (room / "mlflow.db").write_bytes(registered._empty_database())
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{room}/mlflow.db", "--artifacts-destination", str(room / "files")]
    with (room / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    try:
        _wait(f"{uri}/health", process)
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait(uri: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(URLError, OSError), urlopen(uri, timeout=2):
            return
        time.sleep(0.2)
    raise RuntimeError("MLflow's server did not start")
