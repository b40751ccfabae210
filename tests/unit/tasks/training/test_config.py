"""What the `train:` section refuses, and how it says so."""

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from infra.errors import BadRecipe
from infra.storage.receipt import Receipt
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


def test_the_known_training_arguments_are_the_fields_of_the_installed_class() -> None:
    tree = ast.parse((Path(str(find_spec("transformers").origin)).parent / "training_args.py").read_text())  # type: ignore[union-attr]
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments")
    fields = (item.target for item in found.body if isinstance(item, ast.AnnAssign))
    assert stage.training_arguments() == {field.id for field in fields if isinstance(field, ast.Name)}


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


def dataset(judged: str) -> Receipt:
    summary: dict[str, JsonValue] = {"judged": judged} if judged else {}
    return Receipt(stage="data", key="d", attempt="a", uri="u", content_sha256="d", summary=summary)


WEIGHTS = Receipt(stage="weights", key="w", attempt="a", uri="u", content_sha256="w")


@pytest.mark.parametrize(
    ("method", "judged", "said", "remedy"),
    [
        ("sft", "pairs", "sft trains on rows of one answer each, and the rows are pairs", "{method: dpo}, or give the"),
        ("sft", "labels", "the rows are answers with a label", "{method: kto}, or give the"),
        ("dpo", "", "dpo trains on pairs (chosen and rejected), and the rows are rows of one answer", "{method: sft}"),
        ("dpo", "labels", "the rows are answers with a label", "{method: kto}"),
        ("kto", "pairs", "kto trains on answers with a label", "{method: dpo}"),
    ],
)
def test_rows_of_another_kind_than_the_objectives_are_refused(method: str, judged: str, said: str, remedy: str) -> None:
    config = TrainConfig.model_validate({"tuning": {"method": "full"}, "objective": {"method": method}})
    for step in (stage.step, stage.reference_step):
        with pytest.raises(BadRecipe) as refused:
            step(config, WEIGHTS, dataset(judged))
        assert said in str(refused.value)
        assert remedy in refused.value.remedy


def test_keys_of_trainings_without_an_objective_are_those_they_had() -> None:
    plain = TrainConfig.model_validate({"tuning": {"method": "lora"}})
    said = TrainConfig.model_validate({"tuning": {"method": "lora"}, "objective": {"method": "sft"}})
    assert "objective" not in plain.material()
    assert stage.step(plain, WEIGHTS, dataset("")).key == stage.step(said, WEIGHTS, dataset("")).key


def test_the_reference_is_the_same_whatever_follows_and_another_where_the_base_is_held_otherwise() -> None:
    def key(**fields: Any) -> str:
        told = {"tuning": {"method": "lora"}, "objective": {"method": "dpo"}} | fields
        return stage.reference_step(TrainConfig.model_validate(told), WEIGHTS, dataset("pairs")).key

    for same in (
        {"objective": {"method": "dpo", "beta": 0.5}},
        {"learning_rate": 1e-3, "seed": 7},
        {"deepspeed": "zero3", "num_processes": 2},
        {"tuning": {"method": "full"}},
    ):
        assert key(**same) == key(), same
    for other in (
        {"tuning": {"method": "qlora"}},
        {"bf16": False},
        {"tuning": {"method": "full"}, "deepspeed": "none"},
    ):
        assert key(**other) != key(), other


def test_smoothing_is_of_the_loss_that_knows_it() -> None:
    with pytest.raises(ValidationError, match="label_smoothing is of loss_type: robust"):
        TrainConfig.model_validate(
            {"tuning": {"method": "full"}, "objective": {"method": "dpo", "label_smoothing": 0.1}}
        )


def test_preferences_are_learned_slowly() -> None:
    def rate(method: str, objective: str) -> float:
        told = {"tuning": {"method": method}, "objective": {"method": objective}}
        return TrainConfig.model_validate(told).peak_learning_rate

    assert [rate("lora", "sft"), rate("full", "sft")] == [2e-4, 2e-5]
    assert [rate("lora", "dpo"), rate("full", "kto")] == [1e-5, 1e-6]
