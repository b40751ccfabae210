"""Presets become exactly these dicts; a JSON of the user's own keeps what it says."""

import json
from pathlib import Path

import pytest

from tasks.training import zero

GOLDEN = Path(__file__).parents[3] / "golden" / "zero"


@pytest.mark.parametrize("preset", list(zero.STAGES))
def test_presets_are_what_they_were(preset: zero.Preset) -> None:
    made = zero.engine_config(preset, micro_batch=2, accumulation=4, world_size=2, max_grad_norm=1.0, precision="bf16")
    assert made == json.loads((GOLDEN / f"{preset}.json").read_text())


def test_none_is_no_engine() -> None:
    assert (
        zero.engine_config("none", micro_batch=1, accumulation=1, world_size=1, max_grad_norm=1, precision="fp32")
        is None
    )
    assert zero.stage("none") == 0


def test_a_json_of_the_users_own_is_kept_and_only_batches_are_set() -> None:
    own = {"zero_optimization": {"stage": 1, "reduce_bucket_size": 7}, "bf16": {"enabled": True}}
    made = zero.engine_config(own, micro_batch=1, accumulation=2, world_size=4, max_grad_norm=1, precision="bf16")
    assert made == own | {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "train_batch_size": 8,
    }
    assert zero.stage(own) == 1
