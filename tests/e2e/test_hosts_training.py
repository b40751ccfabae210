"""Two machines behind sshds, each in a network of its own, train as one node does, also where a worker is killed."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.errors import Unreachable
from infra.launch.hosts import HostsLauncher
from infra.launch.profile import Host, Profile
from tests.e2e import recipes
from tests.e2e.commands import BIN, plain, run
from tests.e2e.training import Bench, bench, losses
from tests.networks import needs_networks, networks, wire
from tests.slurm import until
from tests.sshd import Machines, machines, needs_sshd

pytestmark = [pytest.mark.heavy, pytest.mark.proof, needs_sshd, needs_networks]

RUN = {"num_processes": 2, "deepspeed": "zero2", "max_steps": 6, "save_steps": 2}


@pytest.fixture(scope="module")
def apart() -> Iterator[Machines]:
    """Two that this machine reaches by ways of their own, and that have one wire between them."""
    with networks(ways_here=True) as names:
        places = [(f"10.78.{node}.2", ("ip", "netns", "exec", name)) for node, name in enumerate(names)]
        with machines(places) as running:
            yield running


@pytest.fixture
def by_ssh(apart: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """What there is to train, on a platform whose stages run there."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2)))  # sums may depend on it
    made = bench(tmp_path)
    profile = Profile(
        hosts=[Host(ssh=machine.name, address=f"10.77.0.{node + 1}") for node, machine in enumerate(apart.all)],
        known_hosts=str(apart.folder / "known_hosts"),
        ssh_config=str(apart.folder / "ssh_config"),
    )
    launcher = HostsLauncher(profile, str(tmp_path))
    return dataclasses.replace(made, platform=dataclasses.replace(made.platform, launcher=launcher))


def test_two_machines_train_as_one_node(apart: Machines, by_ssh: Bench, tmp_path: Path) -> None:
    there = by_ssh.train(**RUN, resources={"nodes": 2})
    here = bench(tmp_path / "one")
    np.testing.assert_array_equal(losses(by_ssh, there), losses(here, here.train(**RUN)))
    (told,) = (tmp_path / "store/jobs/training").glob("*/*/address.json")
    assert '"host":"10.77.0.1"' in told.read_text(), "ranks meet on the wire, not where ssh came in"
    assert apart.processes() == []


def test_a_worker_that_is_killed_takes_nothing_with_it(apart: Machines, by_ssh: Bench, tmp_path: Path) -> None:
    def strike() -> None:
        until(lambda: list((tmp_path / "store/stages/training").rglob("COMMIT.json")), 200)
        for process in apart.all[1].workers():
            process.kill()

    long = RUN | {"max_steps": 40}
    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    there = by_ssh.train(**long, resources={"nodes": 2})
    striking.join(30)
    here = bench(tmp_path / "one")
    np.testing.assert_array_equal(losses(by_ssh, there), losses(here, here.train(**long)))
    assert str(there.summary["resumed_from"]).startswith("checkpoint-")
    assert apart.processes() == []


def test_a_wire_through_which_nothing_comes_is_named_and_the_next_try_goes_on(
    apart: Machines, by_ssh: Bench, tmp_path: Path
) -> None:
    fields = RUN | {"max_steps": 40, "ddp_timeout": 30, "resources": {"nodes": 2}}
    network = apart.all[1].before[-1]
    cut_at: list[float] = []

    def strike() -> None:
        until(lambda: list((tmp_path / "store/stages/training").rglob("COMMIT.json")), 200)
        wire(network, "down")
        cut_at.append(time.monotonic())

    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    try:
        # The launch after the one that noticed waits for the way, in vain.
        with pytest.raises(Unreachable, match="do not reach each other"):
            by_ssh.train(**fields)
        given_up_s = time.monotonic() - cut_at[0]
    finally:
        wire(network, "up")
    assert given_up_s < 200
    outcomes = [path.read_text() for path in (tmp_path / "store/jobs/training").glob("*/*/outcome.json")]
    assert any("LinkLost" in outcome for outcome in outcomes), outcomes
    assert apart.processes() == []
    there = by_ssh.train(**fields)
    assert str(there.summary["resumed_from"]).startswith("checkpoint-")


def test_a_whole_run_with_every_stage_on_hosts_comes_to_its_end(tmp_path: Path) -> None:
    with machines() as two:
        recipe = recipes.write(tmp_path)
        (tmp_path / "profile.yaml").write_text(two.profile("stages: {training: {nodes: 2}}\n"))
        own = {
            "LUTHIER_HOME": str(tmp_path / "home"),
            "LUTHIER_PROFILE": str(tmp_path / "profile.yaml"),
            "LUTHIER_SHARED_ROOT": str(tmp_path),
        }
        said = run([str(BIN / "luthier"), "run", str(recipe)], plain() | own, timeout_s=500)
        assert "Made: tiny-tickets version 1" in said
        launches = [json.loads(path.read_text()) for path in (tmp_path / "home/store/jobs").rglob("launch.json")]
        assert {launch["outcome"] for launch in launches} == {"committed"}
        assert {launch["notes"]["hosts"] for launch in launches} >= {", ".join(machine.name for machine in two.all)}
        assert two.processes() == []
