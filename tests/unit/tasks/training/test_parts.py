"""A checkpoint of two nodes: whole once both have stored their part, fetched in parts, marked where one is damaged."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from infra.errors import Crashed, Lost, NodeLost, Unreachable
from infra.frozen import canonical
from infra.launch import peers as launch_peers
from infra.launch.nodes import Place, of
from infra.launch.peers import Peers
from infra.launch.step import Beat, Outcome, Spec
from infra.settings import Platform
from infra.storage import layout
from tasks.training.checkpoints import Checkpoints, Origin, Shape
from tasks.training.parts import Share
from tests import jobs

SHAPE = Shape(engine="deepspeed", zero_stage=2, world_size=2)
ORIGIN = Origin(weights="w", dataset="d", seed=42, train_batch_size=4, accumulation=2, versions={})
OWN = "global_step10/zero_pp_rank_{}_mp_rank_00_optim_states.pt"
SHARED = "global_step10/mp_rank_00_model_states.pt"
PREFIX = "stages/training/key/checkpoints/00000010-a1"
SPEC = Spec(stage="training", version=1, key="key", attempt="a1", config={}, inputs={})


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return dataclasses.replace(jobs.platform(tmp_path), silence_s=0.5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_peers, "LOOK_S", 0.0)


def node(platform: Platform, number: int, attempt: str = "a1") -> Checkpoints:
    share = Share(Peers(platform, SPEC, Place(node=number, nodes=2, host="h")), 1)
    return Checkpoints(platform.store, "key", attempt, SHAPE, ORIGIN, share)


def written(tmp_path: Path, rank: int) -> Path:
    """What one rank leaves on its node's disk; the first also what belongs to none."""
    folder = tmp_path / f"made-{rank}"
    (folder / "global_step10").mkdir(parents=True)
    (folder / OWN.format(rank)).write_bytes(bytes([rank]) * 100)
    (folder / f"rng_state_{rank}.pth").write_bytes(b"rng")
    if rank == 0:
        (folder / SHARED).write_bytes(b"model")
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": []}))
    return folder


def tell(platform: Platform, name: str, value: Beat | Outcome) -> None:
    platform.store.objects.put(layout.job("training", "key", "a1", of(name, 1)), canonical(value.model_dump()))


def saved(platform: Platform, tmp_path: Path) -> None:
    node(platform, 1).save_part(written(tmp_path, 1), 10)
    node(platform, 0).save(written(tmp_path, 0), 10)


def test_the_first_node_seals_once_the_other_has_stored_its_part(platform: Platform, tmp_path: Path) -> None:
    first = threading.Thread(target=lambda: node(platform, 0).save(written(tmp_path, 0), 10))
    first.start()
    assert platform.store.objects.get(f"{PREFIX}/COMMIT.json") is None
    node(platform, 1).save_part(written(tmp_path, 1), 10)
    first.join(20)
    commit = json.loads(platform.store.objects.get(f"{PREFIX}/COMMIT.json") or b"")
    assert {file["path"] for file in commit["files"]} == {
        *(OWN.format(rank) for rank in range(2)),
        *("rng_state_0.pth", "rng_state_1.pth", SHARED, "trainer_state.json"),
    }


def test_a_node_stores_nothing_that_is_not_its_own(platform: Platform, tmp_path: Path) -> None:
    folder = written(tmp_path, 1)
    (folder / SHARED).write_bytes(b"another's")
    node(platform, 1).save_part(folder, 10)
    assert platform.store.objects.get(f"{PREFIX}/{SHARED}") is None


def test_each_node_fetches_what_its_ranks_read(platform: Platform, tmp_path: Path) -> None:
    saved(platform, tmp_path)
    chosen = node(platform, 0, "a2").newest(tmp_path / "first")
    assert chosen is not None
    followed = node(platform, 1, "a2").follow(chosen.at, tmp_path / "second")
    for found, own in ((chosen, 0), (followed, 1)):
        assert (found.folder / SHARED).read_bytes() == b"model"
        assert (found.folder / OWN.format(own)).read_bytes() == bytes([own]) * 100
        assert not (found.folder / OWN.format(1 - own)).exists()
        assert (found.folder / "latest").read_text() == "global_step10"


def test_a_node_that_finds_its_part_damaged_marks_it_so_that_nobody_takes_it_again(
    platform: Platform, tmp_path: Path
) -> None:
    saved(platform, tmp_path)
    platform.store.objects.put(f"{PREFIX}/{OWN.format(1)}", b"rotten")
    chosen = node(platform, 0, "a2").newest(tmp_path / "first")
    assert chosen is not None, "the first node does not read the other's part"
    with pytest.raises(Lost, match="damaged"):
        node(platform, 1, "a2").follow(chosen.at, tmp_path / "second")
    assert node(platform, 0, "a3").newest(tmp_path / "again") is None


def test_a_node_that_is_gone_leaves_a_checkpoint_without_a_commit(platform: Platform, tmp_path: Path) -> None:
    tell(platform, "heartbeat.json", Beat(at=1.0))
    first = node(platform, 0)
    with pytest.raises(NodeLost, match="node 1"):
        first.save(written(tmp_path, 0), 10)
    assert platform.store.objects.get(f"{PREFIX}/COMMIT.json") is None


def test_a_node_that_ended_well_without_its_part_is_not_waited_for(platform: Platform, tmp_path: Path) -> None:
    tell(platform, "outcome.json", Outcome(state="done"))
    with pytest.raises(Crashed, match="node 1 ended without its part"):
        node(platform, 0).save(written(tmp_path, 0), 10)


def test_a_part_that_never_comes_is_not_waited_for_for_ever(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.parts.PATIENCE_S", 0.1)
    tell(platform, "heartbeat.json", Beat(at=1.0))
    with pytest.raises(Unreachable, match=r"node 1 lives, but left no part\.json"):
        Share(Peers(platform, SPEC, Place(node=0, nodes=2, host="h")), 1).gather(platform.store, PREFIX)
