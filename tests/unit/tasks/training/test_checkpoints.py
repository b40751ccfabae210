"""A checkpoint counts from its COMMIT on, is read back only verified, and only into a run of the same shape."""

import json
from pathlib import Path

import pytest

from infra.errors import BadRecipe, Crashed
from infra.frozen import canonical, sealed, unsealed
from infra.storage.objects import LocalObjects
from infra.storage.store import Store
from tasks.training import universal
from tasks.training.checkpoints import Checkpoints, Found, Origin, Shape, files

SHAPE = Shape(engine="deepspeed", zero_stage=2, world_size=2)
ORIGIN = Origin(
    weights="w", dataset="d", seed=42, train_batch_size=4, accumulation=2, versions={"torch": "2.13.0", "peft": "0.21"}
)
PREFIX = "stages/training/key/checkpoints/"
OPTIMIZER = "zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalObjects(tmp_path / "store"))


def written(tmp_path: Path, step: int, eval_loss: float | None = None) -> Path:
    folder = tmp_path / f"made-{step}"
    states = folder / f"global_step{step}"
    states.mkdir(parents=True)
    for rank in range(2):
        (states / OPTIMIZER.format(rank=rank)).write_bytes(bytes([step]) * 1000)
        (folder / f"rng_state_{rank}.pth").write_bytes(b"rng")
    line = {"step": step} | ({} if eval_loss is None else {"eval_loss": eval_loss})
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": 1, "eval_loss": 0.0}, line]}))
    (folder / "latest").write_text("global_step999")
    return folder


def checkpoints(store: Store, shape: Shape = SHAPE, origin: Origin = ORIGIN, attempt: str = "a2") -> Checkpoints:
    return Checkpoints(store, "key", attempt, shape, origin)


def save(store: Store, tmp_path: Path, *steps: int, losses: dict[int, float] | None = None) -> None:
    for step in steps:
        checkpoints(store, attempt="a1").save(written(tmp_path, step, (losses or {}).get(step)), step)


def found(store: Store, tmp_path: Path, shape: Shape = SHAPE, origin: Origin = ORIGIN) -> Found:
    newest = checkpoints(store, shape, origin).newest(tmp_path)
    assert newest is not None
    return newest


def held(store: Store) -> set[int]:
    return {int(name.removeprefix(PREFIX)[:8]) for name in store.objects.list(PREFIX)}


def damage(store: Store, tmp_path: Path, step: int, drop: str = "", add: str = "") -> None:
    """Commit a checkpoint with a file too few or too many."""
    folder = written(tmp_path, step)
    if drop:
        (folder / drop).unlink()
    if add:
        (folder / add).write_bytes(b"foreign")
    checkpoints(store, attempt="a1").save(folder, step)


def test_the_newest_comes_back_whole_for_any_later_attempt(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20)
    newest = found(store, tmp_path)
    assert (newest.step, newest.folder.name, newest.changed) == (20, "checkpoint-20", "")
    assert (newest.folder / "global_step20" / OPTIMIZER.format(rank=1)).read_bytes() == bytes([20]) * 1000
    assert (newest.folder / "latest").read_text() == "global_step20", "DeepSpeed's own word is not taken for it"


def test_the_newest_two_and_the_best_are_kept(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20, 30)
    assert held(store) == {20, 30}
    save(store, tmp_path, 40, 50, 60, 70, losses={40: 2.0, 50: 1.0, 60: 3.0, 70: 4.0})
    assert held(store) == {50, 60, 70}
    save(store, tmp_path, 80, losses={80: 0.5})
    assert held(store) == {70, 80}


def test_without_its_commit_a_checkpoint_is_not_there(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10, 20)
    store.objects.delete(f"{PREFIX}00000020-a1/COMMIT.json")
    assert found(store, tmp_path).step == 10


@pytest.mark.parametrize("harm", ["flip", "delete", "record"])
def test_a_damaged_one_is_passed_over_for_the_older(store: Store, tmp_path: Path, harm: str) -> None:
    save(store, tmp_path, 10, 20)
    bad = f"{PREFIX}00000020-a1/global_step20/{OPTIMIZER.format(rank=0)}"
    if harm == "flip":
        store.objects.put(bad, bytes([21]) + bytes([20]) * 999)
    elif harm == "delete":
        store.objects.delete(bad)
    else:
        store.objects.put(f"{PREFIX}00000020-a1/COMMIT.json", b'{"step": 20}')
    assert found(store, tmp_path).step == 10


@pytest.mark.parametrize(
    "harm",
    [
        {"drop": "rng_state_1.pth"},
        {"add": "rng_state_2.pth"},
        {"add": "rng_state.pth"},
        {"drop": f"global_step20/{OPTIMIZER.format(rank=1)}"},
        {"add": f"global_step20/{OPTIMIZER.format(rank=2)}"},
    ],
    ids=str,
)
def test_one_without_the_states_of_just_its_ranks_is_passed_over(
    store: Store, tmp_path: Path, harm: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    save(store, tmp_path, 10)
    damage(store, tmp_path, 20, **harm)
    assert found(store, tmp_path).step == 10
    assert "are not those of its ranks" in caplog.text


@pytest.mark.parametrize("change", [{"zero_stage": 3}, {"engine": "none"}])
def test_a_run_of_another_shape_never_resumes_silently(store: Store, tmp_path: Path, change: dict[str, object]) -> None:
    save(store, tmp_path, 10)
    assert checkpoints(store, SHAPE.model_copy(update=change)).newest(tmp_path) is None


@pytest.mark.parametrize("change", [{"weights": "x"}, {"dataset": "x"}, {"seed": 1}, {"train_batch_size": 8}])
def test_what_is_made_of_something_else_is_not_gone_on_from(
    store: Store, tmp_path: Path, change: dict[str, object]
) -> None:
    save(store, tmp_path, 10)
    assert checkpoints(store, origin=ORIGIN.model_copy(update=change)).newest(tmp_path) is None


def test_other_versions_and_another_split_are_told(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10)
    now = ORIGIN.model_copy(update={"accumulation": 4, "versions": {"torch": "2.13.1", "peft": "0.21"}})
    assert found(store, tmp_path, origin=now).changed == "torch 2.13.0 → 2.13.1, accumulation 2 → 4"


ONE = SHAPE.model_copy(update={"world_size": 1})


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """DeepSpeed's part, done in its place and noted by step; the real one is in tests/e2e/test_checkpoints.py."""
    done: list[int] = []

    def convert(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        for name in ("trainer_state.json", "latest_universal"):
            (target / name).write_bytes((source / "trainer_state.json").read_bytes())
        done.append(int(source.name.removeprefix("checkpoint-")))

    monkeypatch.setattr(universal, "convert", convert)
    return done


def test_one_of_another_number_of_ranks_is_converted_once(store: Store, tmp_path: Path, conversions: list[int]) -> None:
    save(store, tmp_path, 10, 20)
    first = found(store, tmp_path / "first", ONE)
    assert (first.step, first.universal, first.changed) == (20, True, "processes 2 → 1")
    again = Checkpoints(store, "key", "a3", ONE, ORIGIN).newest(tmp_path / "again")
    assert again is not None
    assert (again.step, again.universal) == (20, True)
    assert conversions == [20]
    assert found(store, tmp_path / "two", SHAPE).universal is False, "its own ranks' files are still there"


def test_without_deepspeed_nothing_needs_conversion(store: Store, tmp_path: Path, conversions: list[int]) -> None:
    plain = Shape(engine="none", zero_stage=0, world_size=2)
    folder = written(tmp_path, 10)
    for name in ("optimizer.pt", "scheduler.pt"):
        (folder / name).write_bytes(b"state")
    checkpoints(store, plain).save(folder, 10)
    newest = found(store, tmp_path, plain.model_copy(update={"world_size": 1}))
    assert (newest.step, newest.universal, newest.changed) == (10, False, "processes 2 → 1")
    assert conversions == []


def test_what_cannot_be_converted_is_refused_by_name_and_not_begun_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: Path, target: Path) -> None:
        raise Crashed("no such optimizer")

    monkeypatch.setattr(universal, "convert", fails)
    save(store, tmp_path, 10, 20)
    with pytest.raises(BadRecipe, match="step 20 is of another number") as caught:
        checkpoints(store, ONE).newest(tmp_path)
    assert caught.value.place == "train.num_processes"
    assert "no such optimizer" in caught.value.value


def test_the_files_of_a_record_are_read_also_where_another_luthier_wrote_it(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path, 10)
    (place,) = (name for name in store.objects.list(PREFIX) if name.endswith("COMMIT.json"))
    data = store.objects.get(place) or b""
    told = unsealed(data)
    newer = sealed(told | {"unheard_of": 1})
    older = canonical({name: told[name] for name in ("step", "shape", "files")})
    assert files(data) == files(newer) == files(older)
    for damaged in (b"", data[:-1], data.replace(b'"seal"', b'"sdal"'), data.replace(b'"step":10', b'"step":11')):
        with pytest.raises(ValueError, match=r"."):
            files(damaged)
