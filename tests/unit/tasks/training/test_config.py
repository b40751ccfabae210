"""What the `train:` section refuses, and how it says so."""

from typing import Any

import pytest
from pydantic import ValidationError

from infra.errors import BadRecipe
from tasks.training import stage
from tasks.training.config import TrainConfig

LORA = {"method": "lora"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bf16": True, "fp16": True}, "exclude each other"),
        ({"training_args": {"learning_rate": 1.0}}, "set train.learning_rate"),
        ({"training_args": {"gradient_accumulation_steps": 4}}, "train.train_batch_size decides it"),
        ({"deepspeed": {"train_batch_size": 4}}, "train.train_batch_size decides it"),
        ({"deepspeed": "zero9"}, "zero2"),
        ({"tuning": {"method": "lora", "lora_r": 0}}, "greater than or equal to 1"),
        ({"tuning": {"method": "full", "lora_r": 8}}, "Extra inputs"),
        ({"tuning": {"method": "magic"}}, "'full', 'lora', 'qlora'"),
        ({"learning_rate": -1}, "greater than 0"),
        ({"num_epochs": 3}, "Extra inputs"),
    ],
)
def test_impossible_sections_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate({"tuning": LORA} | fields)


def test_an_unknown_training_argument_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadRecipe) as refused:
        stage.check(TrainConfig.model_validate({"tuning": LORA, "training_args": {"adam_beta_2": 0.95}}))
    assert refused.value.place == "train.training_args.adam_beta_2"
    assert "adam_beta2" in refused.value.remedy


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_runs() -> None:
    config = TrainConfig.model_validate({"tuning": LORA, "train_batch_size": 3, "num_processes": 2})
    with pytest.raises(BadRecipe, match="2 processes"):
        stage.check(config)


def test_what_only_says_how_to_fit_is_not_in_the_key() -> None:
    plain = TrainConfig.model_validate({"tuning": LORA})
    fitted = plain.model_copy(
        update={"per_device_train_batch_size": 8, "num_processes": 4, "gradient_checkpointing": True, "save_steps": 5}
    )
    assert plain.material() == fitted.material()
    assert plain.material() != plain.model_copy(update={"train_batch_size": 32}).material()


def test_defaults_depend_on_the_method() -> None:
    assert TrainConfig.model_validate({"tuning": LORA}).peak_learning_rate == 2e-4
    assert TrainConfig.model_validate({"tuning": {"method": "full"}}).peak_learning_rate == 2e-5
