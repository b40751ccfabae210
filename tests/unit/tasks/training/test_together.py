"""Two nodes come to one plan and to one address, and torchrun is told of it."""

import threading
from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.launch.links import PORTS
from infra.launch.nodes import Place
from infra.launch.peers import Peers
from infra.launch.work import Work
from tasks.training import ranks
from tasks.training.config import TrainConfig
from tasks.training.ranks import Address, Meeting
from tasks.training.together import Plan, hear_plan, meet
from tests import jobs

CONFIG = TrainConfig.model_validate({"tuning": {"method": "lora"}, "resources": {"nodes": 2}})


@pytest.fixture
def job(tmp_path: Path) -> Work[TrainConfig]:
    made: Work[TrainConfig] = jobs.job(jobs.platform(tmp_path), "training", CONFIG, {})
    return made


def of_node(job: Work[TrainConfig], node: int) -> tuple[Work[TrainConfig], Peers]:
    place = Place(node=node, nodes=2, host="127.0.0.1")
    there = Work(job.config, job.inputs, job.spec, job.platform, job.out, job.scratch, place=place)
    return there, Peers(job.platform, job.spec, place)


def test_all_follow_the_plan_of_the_first(job: Work[TrainConfig]) -> None:
    plan = Plan(config=CONFIG.model_copy(update={"gradient_checkpointing": True}), ranks=4, checkpoint="somewhere")
    _, first = of_node(job, 0)
    first.tell("plan.json", plan)
    assert hear_plan(*of_node(job, 1), 4) == plan


def test_a_node_with_other_devices_is_refused_by_name(job: Work[TrainConfig]) -> None:
    _, first = of_node(job, 0)
    first.tell("plan.json", Plan(config=CONFIG, ranks=8))
    with pytest.raises(BadRecipe, match=r"node 1 \(127.0.0.1\) would run 4 ranks, and node 0 8"):
        hear_plan(*of_node(job, 1), 4)


def test_nodes_meet_at_a_port_that_the_first_one_found_free(job: Work[TrainConfig]) -> None:
    met: list[Meeting] = []
    second = threading.Thread(target=lambda: met.append(meet(*of_node(job, 1))))
    second.start()
    first = meet(*of_node(job, 0))
    second.join(20)
    assert met[0].address == first.address
    assert first.address.port in PORTS
    assert (first.place.node, met[0].place.node) == (0, 1)


def test_torchrun_is_told_where_and_as_whom() -> None:
    place = Place(node=1, nodes=2, host="10.0.0.2")
    told = ranks._rendezvous(Meeting(place, Address(host="10.0.0.1", port=20001), "a"))
    assert {"--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=20001"} <= set(told)
    assert "--local-addr=10.0.0.2" in told
    assert "--nnodes=1" in ranks._rendezvous(None)


def test_processes_are_of_all_nodes_together() -> None:
    with pytest.raises(ValueError, match="cannot be shared evenly by 2"):
        TrainConfig.model_validate({"tuning": {"method": "lora"}, "resources": {"nodes": 2}, "num_processes": 3})
    assert "resources" not in CONFIG.material()
