"""Who is told to leave is gone soon: a worker whose store is away, and a flow with the server that Prefect gave it."""

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import psutil
import pytest

from infra.frozen import canonical
from infra.launch.lifeline import GRACE_S
from infra.launch.local import LocalLauncher
from infra.launch.step import spec
from infra.launch.work import LEFT
from infra.storage import collect, layout, listing
from infra.storage.s3 import S3Objects
from infra.storage.store import Store
from tests import toy
from tests.e2e import commands, recipes
from tests.faults.kills import environment
from tests.faults.test_detection import until
from tests.proxy import Weather, proxy
from tests.s3 import Server
from tests.toy import Toy

pytestmark = pytest.mark.slow


@pytest.mark.s3
def test_a_worker_told_to_leave_does_not_wait_for_a_store_that_is_away(
    s3: Server, s3_root: str, luthier_home: Path, tmp_path: Path
) -> None:
    store, step, attempt = Store(S3Objects(s3_root)), toy.step(Toy(act="large")), uuid.uuid4().hex
    told = layout.job(step.stage, step.key, attempt, "spec.json")
    store.objects.put(told, canonical(spec(step, attempt).model_dump(mode="json")))
    with proxy(s3.endpoint) as line, environment({"AWS_ENDPOINT_URL": line.endpoint, "LUTHIER_STORE": s3_root}):
        line.weather = Weather(slow=1.0, slow_s=1.0)
        job = LocalLauncher().start("tests.toy", told, {}, tmp_path / "log")
        try:
            until(lambda: any(listing.unfinished(store.objects)), 60)
            line.swallow()
            start = time.monotonic()
            os.kill(job.processes[0].pid, signal.SIGTERM)
            until(lambda: job.poll() is not None, GRACE_S)
        finally:
            job.stop()
    assert job.poll() == LEFT
    assert time.monotonic() - start < GRACE_S
    (left,) = collect.unfinished(store, listing.now(store.objects) + 60)
    assert left.key.endswith("/large")


def test_a_run_told_to_leave_takes_prefects_server_with_it(tmp_path: Path) -> None:
    home, recipe = tmp_path / "home", recipes.write(tmp_path)
    variables = commands.plain() | {"LUTHIER_HOME": str(home)}
    run = subprocess.Popen(["luthier", "run", str(recipe)], env=variables, cwd=commands.ROOT, stdin=subprocess.DEVNULL)
    started = list[psutil.Process]()
    try:
        until(lambda: any((home / "logs").glob("*.log")), 180)  # the first worker is on its way
        started = psutil.Process(run.pid).children(recursive=True)
        assert len([one for one in started if one.status() != psutil.STATUS_ZOMBIE]) >= 2
        run.terminate()
        run.wait(GRACE_S + 10)
        _, alive = psutil.wait_procs(started, timeout=60)  # a worker that only begins hears of it once it has imported
        assert alive == []
    finally:
        run.kill()
        run.wait()
        for one in started:
            if one.is_running():
                one.kill()
