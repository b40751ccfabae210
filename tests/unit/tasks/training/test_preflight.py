"""Two nodes look at each other before they fetch anything: in a real store, with real doors."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import BadNodes, Unreachable
from infra.launch.links import Door, Links
from infra.launch.nodes import Place
from infra.launch.peers import Peers
from infra.launch.preflight import Facts
from infra.launch.work import Work
from tasks.training import preflight
from tasks.training.config import TrainConfig
from tasks.training.preflight import Roster, check, facts, need, note_sum, versions
from tasks.training.presence import ADDED, Added, whole
from tests import jobs

CONFIG = TrainConfig.model_validate({"tuning": {"method": "lora"}, "resources": {"nodes": 2}})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "REACH_S", 0.1)


@pytest.fixture
def job(tmp_path: Path) -> Work[TrainConfig]:
    on = jobs.platform(tmp_path)
    made = tmp_path / "made"
    made.mkdir()
    (made / "file").write_bytes(bytes(1000))
    shard = jobs.keep(on, "shard", made)
    (made / "file").write_bytes(bytes(200))
    inputs = {
        "weights": jobs.keep(on, "base", made, {"parameters": 10}),
        "dataset": jobs.keep(on, "data", made, parts={"shard-00000": shard}),
    }
    work: Work[TrainConfig] = jobs.job(on, "training", CONFIG, {})
    spec = work.spec.model_copy(update={"inputs": inputs})
    return Work(CONFIG, {}, spec, on, work.out, work.scratch)


def of_node(job: Work[TrainConfig], node: int) -> tuple[Work[TrainConfig], Peers]:
    place = Place(node=node, nodes=2, host="127.0.0.1")
    there = Work(job.config, job.inputs, job.spec, job.platform, job.out, job.scratch, place=place)
    return there, Peers(job.platform, job.spec, place)


@pytest.fixture
def doors(job: Work[TrainConfig]) -> Iterator[tuple[Door, Door]]:
    with Door(job.spec.attempt, 0) as first, Door(job.spec.attempt, 1) as second:
        yield first, second


def test_nodes_that_are_alike_know_each_others_doors(job: Work[TrainConfig], doors: tuple[Door, Door]) -> None:
    first, second = of_node(job, 0), of_node(job, 1)
    with ThreadPoolExecutor(1) as pool:
        there: Future[Links] = pool.submit(check, *second, doors[1])
        here = check(*first, doors[0])
        for links, other in ((here, 1), (there.result(20), 0)):
            (way,) = links.reach().ways
            assert (way.node, way.why) == (other, "")
    noted = first[0].now().notes
    assert noted["preflight"].startswith("2 nodes are alike and reach each other")
    assert "clocks" not in noted


def as_told(job: Work[TrainConfig], door: Door, **others: str) -> Facts:
    """What the second node would say, with other versions."""
    own = facts(of_node(job, 1)[0], door)
    return own.model_copy(update={"versions": own.versions | others})


def test_a_node_with_another_torch_is_refused_before_it_hears_of_any_door(
    job: Work[TrainConfig], doors: tuple[Door, Door]
) -> None:
    (first, peers), (_, second) = of_node(job, 0), of_node(job, 1)
    second.tell("facts.json", as_told(job, doors[1], torch="1.0"))
    with pytest.raises(BadNodes, match=r"node 1 \(127.0.0.1\): torch 1.0, node 0 \(127.0.0.1\) has 2"):
        check(first, peers, doors[0])
    assert second.read("roster.json", Roster, 0) is None


def test_nodes_that_do_not_reach_each_other_are_named_from_both_sides(
    job: Work[TrainConfig], doors: tuple[Door, Door]
) -> None:
    (first, peers), second = of_node(job, 0), of_node(job, 1)
    for door in doors:
        door.__exit__(None, None, None)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(check, *second, doors[1])
        with pytest.raises(Unreachable, match=r"nodes 0 \(127.0.0.1\) and 1 \(127.0.0.1\) do not reach") as lost:
            check(first, peers, doors[0])
        there.result(20)
    assert lost.value.retry
    assert f"from node 0 to 127.0.0.1:{doors[1].port}" in lost.value.value
    assert f"from node 1 to 127.0.0.1:{doors[0].port}" in lost.value.value


def test_a_node_that_lives_and_never_knocks_is_not_waited_for(
    job: Work[TrainConfig], doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "ANSWER_S", 0.1)
    (first, peers), (_, second) = of_node(job, 0), of_node(job, 1)
    second.tell("facts.json", as_told(job, doors[1]))
    with pytest.raises(Unreachable, match=r"node 1 lives, but left no reached\.json"):
        check(first, peers, doors[0])


def test_only_what_a_recipe_uses_has_to_be_the_same() -> None:
    lora = versions(CONFIG)
    assert {"python", "luthier", "torch", "transformers", "accelerate", "peft", "deepspeed"} == {*lora} - {
        "CUDA",
        "NCCL",
    }
    full = versions(TrainConfig.model_validate({"tuning": {"method": "full"}, "deepspeed": "none"}))
    assert not {"peft", "deepspeed"} & full.keys()
    assert "bitsandbytes" in versions(TrainConfig.model_validate({"tuning": {"method": "qlora"}}))


def test_the_room_that_a_node_needs_is_for_what_it_lacks_and_its_part_of_a_checkpoint(job: Work[TrainConfig]) -> None:
    assert need(job) == 200 + 1000, "weights and dataset have the same bytes"
    job.platform.cache.materialise(job.platform.store, job.receipt("weights"), job.scratch / "weights")
    assert need(job) == 1000
    job.config = TrainConfig.model_validate({"tuning": {"method": "full"}})
    (first, _), (second, _) = of_node(job, 0), of_node(job, 1)
    assert need(first) == 1000 + 8 * 10 // 2 + 2 * 10
    assert need(second) == 1000 + 8 * 10 // 2
    alone = CONFIG.model_copy(update={"tuning": job.config.tuning, "deepspeed": "none"})
    first.config = second.config = alone
    assert need(first) == 1000 + 8 * 10 + 4 * 10
    assert need(second) == 1000


def test_the_first_sum_is_noted_once(job: Work[TrainConfig]) -> None:
    note_sum(job)
    assert "all_reduce" not in job.now().notes
    whole(job.scratch / ADDED, Added(backend="nccl", ranks=4, nodes=2, size=2**24, seconds=0.01))
    note_sum(job)
    assert job.now().notes["all_reduce"] == "4 ranks of 2 nodes, nccl: 2.5 GB/s"
    assert not (job.scratch / ADDED).exists()
