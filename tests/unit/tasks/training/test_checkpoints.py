"""A checkpoint counts from its COMMIT on, is read back only verified, and only into a run of the same shape."""

from pathlib import Path

import pytest

from infra.storage.objects import LocalObjects
from infra.storage.store import Store
from tasks.training.checkpoints import Checkpoints, Shape

SHAPE = Shape(engine="deepspeed", zero_stage=2, world_size=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalObjects(tmp_path / "store"))


def written(tmp_path: Path, step: int) -> Path:
    folder = tmp_path / f"made-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "global_step" / "optim.pt").write_bytes(bytes([step]) * 1000)
    (folder / "rng_state_0.pth").write_bytes(b"rng")
    return folder


def save(store: Store, tmp_path: Path, *steps: int, attempt: str = "a1") -> Checkpoints:
    checkpoints = Checkpoints(store, "key", attempt, SHAPE)
    for step in steps:
        checkpoints.save(written(tmp_path, step), step)
    return checkpoints


def test_the_newest_comes_back_whole_for_any_later_attempt(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20)
    found = Checkpoints(store, "key", "a2", SHAPE).newest(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-20"
    assert (found / "global_step" / "optim.pt").read_bytes() == bytes([20]) * 1000


def test_only_the_newest_two_are_kept(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20, 30)
    assert {name.split("/")[4] for name in store.objects.list("stages/training/key/checkpoints/")} == {
        "00000020-a1",
        "00000030-a1",
    }


def test_without_its_commit_a_checkpoint_is_not_there(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20)
    store.objects.delete("stages/training/key/checkpoints/00000020-a1/COMMIT.json")
    found = Checkpoints(store, "key", "a2", SHAPE).newest(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_one_is_passed_over_for_the_older(store: Store, tmp_path: Path, damage: str) -> None:
    save(store, tmp_path, 10, 20)
    bad = "stages/training/key/checkpoints/00000020-a1/global_step/optim.pt"
    store.objects.put(bad, bytes([21]) + bytes([20]) * 999) if damage == "flip" else store.objects.delete(bad)
    found = Checkpoints(store, "key", "a2", SHAPE).newest(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"


@pytest.mark.parametrize("change", [{"world_size": 4}, {"zero_stage": 3}, {"engine": "none"}])
def test_a_run_of_another_shape_never_resumes_silently(store: Store, tmp_path: Path, change: dict[str, object]) -> None:
    save(store, tmp_path, 10)
    assert Checkpoints(store, "key", "a2", SHAPE.model_copy(update=change)).newest(tmp_path) is None
