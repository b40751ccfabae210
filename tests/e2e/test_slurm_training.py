"""Two nodes of a real Slurm train as one node does, also where one of them loses its power."""

import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.launch.profile import Profile
from infra.launch.resources import Resources
from infra.launch.slurm import SlurmLauncher
from tests.e2e.training import Bench, bench, losses
from tests.slurm import Slurm, needs_slurm, slurm, until

pytestmark = [pytest.mark.heavy, pytest.mark.slow, needs_slurm]

RUN = {"num_processes": 2, "deepspeed": "zero2", "max_steps": 6, "save_steps": 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as running:
        yield running


@pytest.fixture
def on_slurm(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """What there is to train, on a platform whose stages are jobs."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2)))  # sums may depend on it
    made = bench(tmp_path)
    profile = Profile(resources=Resources(cpus_per_task=1, time="00:20:00"))
    launcher = SlurmLauncher(profile, str(tmp_path))
    return dataclasses.replace(made, platform=dataclasses.replace(made.platform, launcher=launcher))


def test_two_nodes_train_as_one(cluster: Slurm, on_slurm: Bench, tmp_path: Path) -> None:
    there = on_slurm.train(**RUN, resources={"nodes": 2})
    here = bench(tmp_path / "one")
    np.testing.assert_array_equal(losses(on_slurm, there), losses(here, here.train(**RUN)))
    assert cluster.jobs() == []


@pytest.mark.proof
def test_a_node_that_loses_its_power_takes_nothing_with_it(cluster: Slurm, on_slurm: Bench, tmp_path: Path) -> None:
    def strike() -> None:
        until(lambda: list((tmp_path / "store/stages/training").rglob("COMMIT.json")), 200)
        cluster.kill("node2")
        cluster.node("node2")

    long = RUN | {"max_steps": 40}
    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    there = on_slurm.train(**long, resources={"nodes": 2})
    striking.join(30)
    here = bench(tmp_path / "one")
    np.testing.assert_array_equal(losses(on_slurm, there), losses(here, here.train(**long)))
    assert str(there.summary["resumed_from"]).startswith("checkpoint-")
    assert cluster.jobs() == []
