"""Complete checkpoints reach the store, their adapters stay there, and what goes wrong is told."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import Lost
from infra.launch.nodes import Place
from infra.launch.peers import Peers
from infra.launch.work import Work
from infra.storage import trajectory
from infra.storage.receipt import Receipt
from tasks.training.checkpoints import Checkpoints, Origin, Shape
from tasks.training.config import TrainConfig
from tasks.training.parts import Share
from tasks.training.uploads import ADAPTER, Uploads
from tests import jobs

SHAPE = Shape(engine="none", zero_stage=0, world_size=2)
ORIGIN = Origin(weights="w", dataset="d", seed=42, train_batch_size=4, accumulation=2, versions={})


@pytest.fixture
def job(tmp_path: Path) -> Work[TrainConfig]:
    config = TrainConfig.model_validate({"tuning": {"method": "lora"}})
    made: Work[TrainConfig] = jobs.job(jobs.platform(tmp_path), "training", config, {})
    return made


@pytest.fixture
def uploads(job: Work[TrainConfig]) -> Uploads:
    checkpoints = Checkpoints(job.platform.store, job.spec.key, job.spec.attempt, SHAPE, ORIGIN)
    return Uploads(job, checkpoints)


def saved(job: Work[TrainConfig], step: int, ranks: int = 2) -> None:
    """What so many ranks leave of a checkpoint."""
    folder = job.scratch / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in (*ADAPTER, "optimizer.pt"):
        (folder / name).write_text(f"{name} of {step}")
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": step, "eval_loss": 1.5}]}))
    for rank in range(ranks):
        (job.scratch / f"ready-{step}-{rank}").write_text(json.dumps({"stall_s": 0.25, "write_s": 1.0}))


def kept(job: Work[TrainConfig]) -> dict[int, Receipt]:
    return trajectory.entries(job.platform.store, job.spec.key)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_all_ranks_have_written_is_committed_and_makes_room_for_the_next(
    job: Work[TrainConfig], uploads: Uploads
) -> None:
    saved(job, 10, ranks=1)
    saved(job, 20)
    until(lambda: uploads.committed)
    assert [*kept(job)] == [20]
    (job.scratch / "ready-10-1").write_text(json.dumps({"stall_s": 0.5, "write_s": 1.0}))
    uploads.finish()
    assert list((job.scratch / "checkpoints").iterdir()) == []
    assert uploads.figures() == {"checkpoints": 2, "checkpoints_skipped": 0, "checkpoint_stall_s": 0.75}


def test_adapters_outlive_their_checkpoints_as_artifacts(job: Work[TrainConfig], uploads: Uploads) -> None:
    for step in (10, 20, 30):
        saved(job, step)
        until(lambda done=step // 10: uploads.committed == done)
    uploads.finish()
    assert [*kept(job)] == [10, 20, 30]
    first = kept(job)[10]
    assert first.summary == {"step": 10, "eval_loss": 1.5}
    assert job.platform.store.read(first, "adapter_model.safetensors") == b"adapter_model.safetensors of 10"
    assert job.platform.store.find(trajectory.STAGE, trajectory.key(job.spec.key, 10)) is not None


def test_whole_models_are_not_kept(tmp_path: Path) -> None:
    config = TrainConfig.model_validate({"tuning": {"method": "full"}})
    job: Work[TrainConfig] = jobs.job(jobs.platform(tmp_path), "training", config, {})
    uploads = Uploads(job, Checkpoints(job.platform.store, job.spec.key, job.spec.attempt, SHAPE, ORIGIN))
    saved(job, 10)
    uploads.finish()
    assert uploads.committed == 1
    assert kept(job) == {}


def test_a_node_of_several_stores_its_part_of_every_step(job: Work[TrainConfig]) -> None:
    job.place = Place(node=1, nodes=2, host="b")
    share = Share(Peers(job.platform, job.spec, job.place), 1)
    for step in (10, 20):
        saved(job, step, ranks=1)
    checkpoints = Checkpoints(job.platform.store, job.spec.key, job.spec.attempt, SHAPE, ORIGIN, share)
    Uploads(job, checkpoints).finish()
    names = set(job.platform.store.objects.list(checkpoints.prefix + "/"))
    assert {name.rpartition("/")[2] for name in names} == {"part-1.json"}, "else the first would wait for one in vain"
    assert len(names) == 2
    assert kept(job) == {}


def test_a_store_that_fails_is_told_to_who_asks(
    job: Work[TrainConfig], uploads: Uploads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: object) -> None:
        raise Lost("the store is gone")

    monkeypatch.setattr(job.platform.store.objects, "upload", gone)
    saved(job, 10)
    with pytest.raises(Lost, match="gone"):
        uploads.finish()
    uploads.finish_if_possible()
    assert "not stored" in caplog.text
