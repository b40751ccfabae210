"""Less at once, never another result; remembered for the machine it was learned on."""

from pathlib import Path
from typing import Any

import pytest

from infra import settings
from infra.errors import Adapted, OutOfMemory
from infra.launch.step import Spec
from infra.launch.work import Work
from infra.settings import Platform
from infra.storage import layout
from tasks.training import fit
from tasks.training.config import TrainConfig
from tasks.training.fit import Fit, difference, lighter


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"tuning": {"method": "lora"}, "train_batch_size": 16} | fields)


def chain(start: TrainConfig, world: int) -> list[tuple[int, bool]]:
    """What is tried one after the other until nothing is left."""
    tried, now = [], lighter(start, world)
    while now is not None:
        tried.append((now.per_device_train_batch_size, now.gradient_checkpointing))
        now = lighter(now, world)
    return tried


@pytest.mark.parametrize(
    ("batch", "most", "world", "tried"),
    [
        (16, 8, 1, [(4, False), (2, False), (1, False), (1, True)]),
        (16, 64, 2, [(4, False), (2, False), (1, False), (1, True)]),  # 8 is a rank's whole share
        (12, 6, 1, [(3, False), (1, False), (1, True)]),
        (10, 5, 2, [(2, False), (2, True)]),  # 2 does not divide 5: one at a time
        (16, 1, 1, [(1, True)]),
    ],
)
def test_half_as_many_at_once_then_activations_are_computed_again(
    batch: int, most: int, world: int, tried: list[tuple[int, bool]]
) -> None:
    assert chain(config(train_batch_size=batch, per_device_train_batch_size=most), world) == tried


def test_the_key_stays() -> None:
    start = config(per_device_train_batch_size=8)
    least = lighter(start, 1)
    assert least is not None
    assert least.material() == start.material()


def test_a_recipe_that_says_fail_is_left_as_it_is() -> None:
    assert chain(config(per_device_train_batch_size=8, on_oom="fail"), 1) == []


def test_the_change_is_told() -> None:
    start = config(per_device_train_batch_size=8)
    assert difference(start, config(per_device_train_batch_size=4), 2) == "micro-batch 8 → 4, accumulation 1 → 2"
    assert "gradient_checkpointing" in difference(start, config(gradient_checkpointing=True), 2)


@pytest.fixture
def platform(luthier_home: Path) -> Platform:
    return settings.load().platform()


def job(platform: Platform, asked: TrainConfig) -> Work[TrainConfig]:
    spec = Spec(stage="training", version=1, key="k", attempt="a", config={}, inputs={})
    return Work(asked, {}, spec, platform, Path("out"), Path("scratch"))


OOM = OutOfMemory("a device ran out of memory", place="here", value=8)


def test_what_was_learned_holds_on_this_machine_and_for_as_many_ranks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(per_device_train_batch_size=8)
    error = Fit(job(platform, asked), 2).after(OOM, asked)
    assert isinstance(error, Adapted)
    assert (error.place, error.value, error.remedy) == ("here", "8", "micro-batch 8 → 4, accumulation 1 → 2")
    assert Fit(job(platform, asked), 2).config().per_device_train_batch_size == 4
    assert Fit(job(platform, config(per_device_train_batch_size=2)), 2).config().per_device_train_batch_size == 2
    assert Fit(job(platform, config(per_device_train_batch_size=8, on_oom="fail")), 2).learned is None
    assert Fit(job(platform, asked), 1).learned is None
    monkeypatch.setattr(fit, "device", lambda: "a larger one")
    assert Fit(job(platform, asked), 2).learned is None


def test_where_nothing_is_left_the_error_stays_and_nothing_is_remembered(platform: Platform) -> None:
    asked = config(per_device_train_batch_size=1, gradient_checkpointing=True)
    assert Fit(job(platform, asked), 1).after(OOM, asked) is OOM
    assert platform.store.objects.get(layout.learned("training", "k")) is None


def test_a_record_that_is_not_understood_is_not_used(platform: Platform) -> None:
    platform.store.objects.put(layout.learned("training", "k"), b'{"of": "another version"}')
    assert Fit(job(platform, config()), 1).learned is None


def test_a_config_that_was_made_lighter_is_still_valid() -> None:
    less = lighter(config(per_device_train_batch_size=8), 1)
    assert less is not None
    assert TrainConfig.model_validate(less.model_dump()) == less
