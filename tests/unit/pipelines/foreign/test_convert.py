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
    assert found.unmapped == ["loss_watchdog_threshold: 5.0", "special_tokens: {'pad_token': '<|end_of_text|>'}"]
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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rl": "dpo"}, "rl: dpo"),
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
