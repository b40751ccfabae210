"""R10: a stream of runs through faults that a seed draws: no manual step, nothing missing, nothing corrupt, nobody left."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.figures import figure, note
from tests.faults.duplicates import before, mlflow_server
from tests.faults.points import ROOT
from tests.faults.soak import KINDS, Soak
from tests.proxy import proxy
from tests.s3 import Server

pytestmark = [pytest.mark.heavy, pytest.mark.s3]

FAULTS = int(os.environ.get("SOAK_FAULTS", "100"))
SEED = 10


@pytest.fixture
def soak(s3: Server, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Soak]:
    """Everything before the gate in a bucket, MLflow, and a line to the store that can be troubled."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with mlflow_server(tmp_path / "mlflow") as mlflow, proxy(s3.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
        given = before(tmp_path / "made", s3_root, mlflow)
        yield Soak(given, line, tmp_path / "runs", random.Random(SEED))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_come_through_some_faults_by_themselves(soak: Soak) -> None:
    soak.calm(1)
    soak.storm(("kill", "503", "lost replies", "flipped byte"))
    assert soak.manual == []
    assert soak.wrong() == []


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_runs_come_through_a_hundred_faults_by_themselves(soak: Soak) -> None:
    soak.calm(5)
    soak.storm([soak.chance.choice(KINDS) for _ in range(FAULTS)])
    wrong = soak.wrong()
    note(f"R10: seed {SEED}, {soak.met}; {soak.manual or 'no manual step'}; {wrong or 'all well'}")
    figure("R10.manual", len(soak.manual), target=0, better="lower", unit="manual steps", n=FAULTS)
    figure("R10.useful", soak.useful, target=0.8, better="higher", unit="of the CPU-seconds", n=FAULTS)
    assert soak.manual == []
    assert wrong == []
    assert soak.useful >= 0.8
