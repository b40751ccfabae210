"""Work pools that start containers, and how many runs at once a pool gives out, on a real Prefect server."""

from urllib.parse import quote

import psutil
import pytest
import yaml

from tests.e2e.commands import ROOT
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.s3]

FILE = ROOT / "docker" / "prefect.yaml"
STANZAS = yaml.safe_load(FILE.read_text())["deployments"]
TYPES = {"machine": "docker", "cluster": "kubernetes"}


def due(stack: Stack, pool: str) -> list[str]:
    """The runs that the server would give to a worker of a pool now."""
    given = stack.prefect(f"work_pools/{pool}/get_scheduled_flow_runs", {})
    return [one["flow_run"]["id"] for one in given]


def become(stack: Stack, run: str, state: str) -> None:
    """What a worker and a flow's process tell the server."""
    stack.prefect(f"flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})


@pytest.fixture
def pools(stack: Stack) -> Stack:
    """A server with both pools and both deployments."""
    made = " && ".join(f"prefect work-pool create {pool} --type {kind} --overwrite" for pool, kind in TYPES.items())
    stack.shell(f"cd '{ROOT}' && {made} && prefect --no-prompt deploy --all --prefect-file '{FILE}'", 180)
    return stack


def test_prefect_takes_the_deployments_for_containers(pools: Stack) -> None:
    for stanza in STANZAS:
        known = pools.prefect(f"deployments/name/finetune/{quote(stanza['name'])}")
        assert known["job_variables"] == stanza["work_pool"]["job_variables"]
        pool = pools.prefect(f"work_pools/{stanza['work_pool']['name']}")
        assert pool["type"] == TYPES[pool["name"]]
        offered = pool["base_job_template"]["variables"]["properties"]
        assert known["job_variables"].keys() <= offered.keys(), "a variable that no such pool has would say nothing"


@pytest.mark.proof
def test_a_pool_counts_what_runs_and_does_not_forget_it(pools: Stack) -> None:
    pools.shell("prefect work-pool set-concurrency-limit machine 1", 60)
    at = pools.prefect("deployments/name/finetune/in-a-container")["id"]
    first, second = (pools.prefect(f"deployments/{at}/create_flow_run", {"name": name})["id"] for name in "ab")
    assert due(pools, "machine") == [first]
    become(pools, first, "RUNNING")
    assert due(pools, "machine") == []
    server = psutil.Process(pools.pids()["prefect"])
    server.kill()
    server.wait(20)
    pools("up")
    assert due(pools, "machine") == []
    become(pools, first, "PAUSED")
    assert due(pools, "machine") == [second], "who waits for approval holds nobody up"
    for run in (first, second):
        become(pools, run, "COMPLETED")
