"""Whole configs of other tools become recipes that load; nothing that was asked for is dropped in silence."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import BadRecipe
from pipelines.foreign.convert import convert
from pipelines.foreign.made import Imported
from tasks.training.config import TrainConfig

AXOLOTL = """
base_model: NousResearch/Llama-3.2-1B
load_in_8bit: false
load_in_4bit: true
datasets:
  - path: rows.jsonl
    type: alpaca
dataset_prepared_path: last_run_prepared
val_set_size: 0.1
output_dir: ./outputs/qlora-out
adapter: qlora
lora_model_dir:
sequence_len: 2048
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules: [gate_proj, down_proj]
wandb_project: x
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
tf32: false
gradient_checkpointing: true
attn_implementation: flash_attention_2
loss_watchdog_threshold: 5.0
relora: true
warmup_ratio: 0.1
evals_per_epoch: 4
weight_decay: 0.0
special_tokens: {pad_token: "<|end_of_text|>"}
"""
LLAMAFACTORY = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity, talks
dataset_dir: data
template: llama3
cutoff_len: 2048
max_samples: 1000
overwrite_cache: true
output_dir: saves/llama3-8b/lora/sft
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
deepspeed: examples/deepspeed/ds_z3_offload_config.json
"""
INFO = {
    "identity": {"file_name": "identity.json"},
    "talks": {"file_name": "talks.json", "formatting": "sharegpt", "columns": {"messages": "messages"}},
}


def made(folder: Path, text: str, **changed: Any) -> Imported:
    raw = yaml.safe_load(text) | changed
    (folder / "config.yaml").write_text(yaml.safe_dump({key: value for key, value in raw.items() if value != "gone"}))
    return convert(folder / "config.yaml")


def test_axolotls_config(tmp_path: Path) -> None:
    found = made(tmp_path, AXOLOTL)
    assert found.sections == {
        "base": {"model_name_or_path": "NousResearch/Llama-3.2-1B"},
        "data": {
            "train_files": ["rows.jsonl"],
            "format": "alpaca",
            "packing": True,
            "prompt_loss_weight": 0.0,
            "max_length": 2048,
            "validation_split": 0.1,
        },
        "train": {
            "tuning": {
                "method": "qlora",
                "lora_r": 32,
                "lora_alpha": 16,
                "lora_dropout": 0.05,
                "target_modules": ["gate_proj", "down_proj"],
            },
            "learning_rate": 2e-4,
            "num_train_epochs": 1,
            "weight_decay": 0.0,
            "loss_watchdog_threshold": 5.0,
            "training_args": {"optim": "adamw_bnb_8bit"},
            "train_batch_size": 8,
            "per_device_train_batch_size": 2,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "bf16": True,
            "deepspeed": "none",
            "gradient_checkpointing": True,
        },
    }
    assert found.unmapped == ["relora: True", "special_tokens: {'pad_token': '<|end_of_text|>'}"]
    assert "8 = micro_batch_size 2 × gradient_accumulation_steps 4 × 1 GPU" in "\n".join(found.notes)
    assert {"output_dir", "wandb_project", "evals_per_epoch", "attn_implementation"} <= set(found.idle)


def test_llama_factorys_config_with_its_data_sets(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(INFO))
    (tmp_path / "examples").mkdir()
    found = made(tmp_path / "examples", LLAMAFACTORY)
    files = found.sections["data"]["train_files"]
    assert [Path(source["files"][0]).name for source in files] == ["identity.json", "talks.json"]
    assert [(source["format"], source["max_rows"]) for source in files] == [("alpaca", 1000), ("messages", 1000)]
    train = found.sections["train"]
    assert train["tuning"] == {"method": "lora", "lora_r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    assert (train["train_batch_size"], train["deepspeed"], train["warmup_steps"]) == (8, "zero3_offload", 0.1)
    assert found.sections["data"]["validation_split"] == 0.0
    assert found.unmapped == ["trust_remote_code: True"]
    assert any("template llama3" in note for note in found.notes)
    assert found.sections["data"]["chat_template"] == "llama3"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rl": "grpo"}, "rl: grpo"),
        ({"lr_scheduler": "rex"}, "lr_scheduler: rex; known are linear"),
        ({"adapter": "llama-adapter"}, "llama-adapter: this method is not known"),
        ({"val_set_size": 500}, "val_set_size: 500"),
        ({"eval_steps": 0.25}, "eval_steps: 0.25"),
        ({"peft_use_dora": True}, "peft_use_dora: True"),
        ({"load_in_8bit": True}, "load_in_8bit: True"),
        ({"datasets": [{"path": "x.jsonl", "type": "input_output"}]}, "Axolotl data set 1: type: input_output"),
    ],
)
def test_what_has_no_counterpart_is_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    assert any(item.startswith(told) for item in made(tmp_path, AXOLOTL, **changed).unmapped)


@pytest.mark.parametrize(
    ("changed", "place", "value"),
    [
        ({"adapter": "gone", "load_in_4bit": False}, ("tuning",), {"method": "full"}),
        ({"adapter": "lora", "load_in_4bit": False}, ("tuning", "method"), "lora"),
        ({"bf16": False, "fp16": True}, ("fp16",), True),
        ({"bf16": "gone"}, ("bf16",), True),
        ({"deepspeed": "deepspeed_configs/zero2.json"}, ("deepspeed",), "zero2"),
        ({"deepspeed": "own.json"}, ("deepspeed",), "zero3_offload"),
        ({"fsdp": ["full_shard"]}, ("deepspeed",), "zero3"),
        ({"warmup_steps": 10}, ("warmup_steps",), 10),
        ({"max_steps": 30}, ("max_steps",), 30),
        ({"lora_target_linear": True}, ("tuning", "target_modules"), "all-linear"),
    ],
)
def test_training_is_carried_over(
    tmp_path: Path, changed: dict[str, Any], place: tuple[str, ...], value: object
) -> None:
    own = {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    found: Any = made(tmp_path, AXOLOTL, **changed).sections["train"]
    for name in place:
        found = found[name]
    assert found == value


def test_what_a_recipe_would_be_refused_for_is_told(tmp_path: Path) -> None:
    found = made(tmp_path, AXOLOTL, lora_r=4096, datasets=[])
    assert any(note.startswith("to mend: data.train_files") for note in found.notes)
    assert any(note.startswith("to mend: train.tuning") for note in found.notes)


@pytest.mark.parametrize("text", ["a: 1", "- 1", "{", ""])
def test_what_is_of_neither_tool_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(BadRecipe):
        convert(tmp_path / "x.yaml")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 5000)
    | st.sampled_from(["auto", "lora", "x/y", "rows.jsonl", "2e-4", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "type", "roles", "format", "field_input", "columns", "tags", "stage"]), inner
        )
    ),
    max_leaves=8,
)
KEYS = sorted({*yaml.safe_load(AXOLOTL), *yaml.safe_load(LLAMAFACTORY)} - {"base_model", "model_name_or_path"})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.sampled_from(["base_model", "model_name_or_path"]))
def test_values_of_any_kind_are_told_or_refused(tmp_path: Path, keys: dict[str, Any], model: str) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({model: "x/y", **keys}))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows.jsonl": keys, "lora": keys.get("datasets")}))
    with suppress(BadRecipe):
        convert(tmp_path / "config.yaml", dataset_info=tmp_path / "dataset_info.json")


@pytest.mark.parametrize(
    ("text", "changed", "objective", "unmapped"),
    [
        (LLAMAFACTORY, {"stage": "dpo", "pref_beta": 0.2, "pref_loss": "ipo"}, {"method": "dpo", "loss_type": "ipo", "beta": 0.2}, ""),
        (LLAMAFACTORY, {"stage": "dpo", "pref_loss": "simpo"}, {"method": "dpo"}, "simpo: this loss is not known here"),
        (LLAMAFACTORY, {"stage": "kto", "kto_rejected_weight": 0.5}, {"method": "kto", "undesirable_weight": 0.5}, ""),
        (AXOLOTL, {"rl": "dpo", "rl_beta": 0.3}, {"method": "dpo", "beta": 0.3}, ""),
        (AXOLOTL, {"rl": "ipo"}, {"method": "dpo", "loss_type": "ipo"}, ""),
        (AXOLOTL, {"rl": "kto", "kto_desirable_weight": 1.2}, {"method": "kto", "desirable_weight": 1.2}, ""),
        (AXOLOTL, {"rl": "grpo"}, None, "rl: grpo"),
    ],
)  # fmt: skip
def test_preference_objectives_are_carried_over(
    tmp_path: Path, text: str, changed: dict[str, Any], objective: dict[str, Any] | None, unmapped: str
) -> None:
    found = made(tmp_path, text, **changed)
    assert found.sections["train"].get("objective") == objective
    if objective is not None:
        assert TrainConfig.model_validate({"tuning": {"method": "lora"}, "objective": objective})
    assert not unmapped or any(line.startswith(unmapped) for line in found.unmapped)
    assert not any(line.startswith(("pref_", "rl_", "kto_", "stage")) for line in found.unmapped)


@pytest.mark.parametrize(
    ("text", "changed", "field", "value"),
    [
        (AXOLOTL, {"chat_template": "chatml"}, "chat_template", "chatml"),
        (AXOLOTL, {"chat_template": "llama3"}, "chat_template", "llama3"),
        (AXOLOTL, {"chat_template": "gemma"}, "chat_template", "gemma"),
        (AXOLOTL, {"chat_template": "alpaca"}, "chat_template", None),  # it ends otherwise
        (AXOLOTL, {"chat_template": "phi_4"}, "chat_template", None),  # it has a system prompt of its own
        (LLAMAFACTORY, {"template": "chatml"}, "chat_template", "chatml"),
        (LLAMAFACTORY, {"template": "qwen"}, "chat_template", None),
        (LLAMAFACTORY, {"template": "gemma2"}, "chat_template", None),  # it ends each conversation with EOS too
        (LLAMAFACTORY, {"mask_history": True}, "train_on_last_turn", True),
        (LLAMAFACTORY, {"mask_history": False}, "train_on_last_turn", None),
    ],
)
def test_what_is_the_same_under_another_name(
    tmp_path: Path, text: str, changed: dict[str, Any], field: str, value: object
) -> None:
    found = made(tmp_path, text, **changed)
    assert found.sections["data"].get(field) == value
    assert not any(next(iter(changed)) in item for item in found.unmapped)


@pytest.mark.parametrize(
    ("roles", "value"),
    [
        ([["gpt", "human"]], ["assistant", "user"]),
        ([["assistant"]], None),
        ([["human"], ["human"]], ["user"]),
        ([["human"], None], "unmapped"),
        ([["all"]], "unmapped"),
        ([[]], "unmapped"),
    ],
)
def test_whose_messages_are_learned(tmp_path: Path, roles: list[list[str] | None], value: object) -> None:
    entries = [{"path": "x.jsonl", "type": "chat_template", "roles_to_train": some} for some in roles]
    found = made(tmp_path, AXOLOTL, datasets=entries)
    told = any("roles_to_train" in item for item in found.unmapped)
    assert (found.sections["data"].get("roles_to_train"), told) == (
        (None, True) if value == "unmapped" else (value, False)
    )


@pytest.mark.parametrize(("eos", "told"), [("turn", False), ("last", True), ("all", True)])
def test_ends_are_learned_with_their_turns(tmp_path: Path, eos: str, told: bool) -> None:
    entries = [{"path": "x.jsonl", "type": "chat_template", "train_on_eos": eos, "train_on_eot": eos}]
    found = made(tmp_path, AXOLOTL, datasets=entries)
    assert any("train_on_eo" in item for item in found.unmapped) is told
