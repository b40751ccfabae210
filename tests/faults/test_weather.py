"""R5: a run whose store has bad weather and an outage ends well, and is held up by little more than the outage."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.storage.s3 import S3Objects
from tests.benchmarks.figures import figure, note
from tests.faults.kills import environment
from tests.faults.stages import empty, judged
from tests.proxy import Proxy, Weather, proxy
from tests.s3 import Server

pytestmark = [pytest.mark.s3, pytest.mark.slow]

ROOT = str(Path(__file__).parents[2])
OUTAGE_S = 60.0
BAD = Weather(unavailable=0.05, reset=0.02, slow=0.05, slow_s=1.0)
RUN = (
    "import sys; from pathlib import Path; from tests.faults.stages import chain; chain(Path(sys.argv[1]), sys.argv[2])"
)


def test_a_stage_ends_well_in_bad_weather(s3: Server, s3_root: str, tmp_path: Path) -> None:
    with proxy(s3.endpoint) as line, environment({"AWS_ENDPOINT_URL": line.endpoint, "PYTHONPATH": ROOT}):
        whole = judged(tmp_path)
        line.weather = Weather(unavailable=0.2, reset=0.1, lost_reply=0.1, slow=0.1, slow_s=0.5)
        again = whole.before("gate", empty(tmp_path / "again", s3_root)).run("gate")
    assert again.content_sha256 == whole.made["gate"].content_sha256
    assert sum(line.met.values()) > 3


@contextmanager
def outage(line: Proxy, client: S3Objects) -> Iterator[None]:
    """Once the dataset is made, nothing answers for a minute: the training is on its way then."""
    over = threading.Event()

    def go() -> None:
        while not over.wait(0.5):
            if [key for key in client.list("stages/data/") if "/MANIFEST" in key]:
                line.refuse()
                over.wait(OUTAGE_S)
                return line.forward()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def started(room: Path, root: str, endpoint: str) -> subprocess.Popen[bytes]:
    room.mkdir()
    variables = os.environ | {"AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": ROOT}
    return subprocess.Popen([sys.executable, "-c", RUN, str(room), root], env=variables, stdin=subprocess.DEVNULL)


def seconds_each(runs: list[subprocess.Popen[bytes]], timeout: float) -> list[float]:
    """How long each took to end well."""
    begin, took = time.monotonic(), dict[int, float]()
    while len(took) < len(runs):
        assert time.monotonic() - begin < timeout, "a run did not end"
        time.sleep(0.1)
        for number, run in enumerate(runs):
            if number not in took and run.poll() is not None:
                assert run.returncode == 0
                took[number] = time.monotonic() - begin
    return [took[number] for number in range(len(runs))]


@pytest.mark.proof
@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_a_run_is_held_up_by_little_more_than_the_outage(s3: Server, s3_root: str, tmp_path: Path) -> None:
    """Two equal runs at the same time, so that a busy machine is as busy for both; one of them has the weather."""
    with proxy(s3.endpoint) as line:
        line.weather = BAD
        runs = [
            started(tmp_path / "calm", f"{s3_root}/calm", s3.endpoint),
            started(tmp_path / "bad", f"{s3_root}/bad", line.endpoint),
        ]
        try:
            with outage(line, S3Objects(f"{s3_root}/bad")):
                calm, bad = seconds_each(runs, 3000)
        finally:
            for run in runs:
                run.kill()
                run.wait()
    share = (bad - calm - OUTAGE_S) / calm
    note(f"R5: {calm:.0f} s in calm weather, {bad:.0f} s with an outage of {OUTAGE_S:.0f} s and {line.met}")
    figure("R5", share, target=0.15, better="lower", unit="share of the run beyond the outage", n=1)
    assert share <= 0.15
