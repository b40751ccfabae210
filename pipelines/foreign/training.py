"""What both tools say of base, batches, method, precision, engine and schedule, mostly by transformers' own names."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.errors import BadRecipe
from pipelines.foreign.made import Imported, Keys, number, read_json

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "polynomial")
_PLACES = {
    "base_model": "base.model_name_or_path",
    "model_name_or_path": "base.model_name_or_path",
    "revision_of_model": "base.revision",
    "model_revision": "base.revision",
    "sequence_len": "data.max_length",
    "cutoff_len": "data.max_length",
    "learning_rate": "train.learning_rate",
    "num_epochs": "train.num_train_epochs",
    "num_train_epochs": "train.num_train_epochs",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "seed": "train.seed",
    "logging_steps": "train.logging_steps",
    "loss_watchdog_threshold": "train.loss_watchdog_threshold",
    "loss_watchdog_patience": "train.loss_watchdog_patience",
    "optimizer": "train.training_args.optim",
    "optim": "train.training_args.optim",
    "adam_beta1": "train.training_args.adam_beta1",
    "adam_beta2": "train.training_args.adam_beta2",
    "adam_epsilon": "train.training_args.adam_epsilon",
    "neftune_noise_alpha": "train.training_args.neftune_noise_alpha",
}
_ADAPTER = {
    "lora_r": "train.tuning.lora_r",
    "lora_alpha": "train.tuning.lora_alpha",
    "lora_dropout": "train.tuning.lora_dropout",
    "peft_use_rslora": "train.tuning.use_rslora",
    "use_rslora": "train.tuning.use_rslora",
}


def put_common(made: Imported, keys: Keys, folder: Path, gpus: int, batch: tuple[str, int | None]) -> None:
    """All keys of transformers' kind. `batch` is the key of sequences a device, and the whole batch where one is said."""
    for key, place in _PLACES.items():
        made.put(place, number(keys.take(key)))
    _batch(made, keys, gpus, *batch)
    _schedule(made, keys)
    _precision(made, keys)
    _engine(made, keys, folder, gpus)
    made.put("train.gradient_checkpointing", bool(keys.take("gradient_checkpointing")) or None)
    for key in ("save_steps", "eval_steps", "max_steps"):
        value = number(keys.take(key))
        if isinstance(value, int) and value > 0:
            made.put(f"train.{key}", value)
        elif value not in (None, -1, 0):
            made.unmapped.append(f"{key}: {value} (steps are counted here, not shares)")
    share = number(keys.take("val_set_size", "val_size"))
    if share is None or (isinstance(share, int | float) and 0 <= share < 1):
        made.put("data.validation_split", None if "validation_files" in made.sections["data"] else float(share or 0))
    else:
        made.unmapped.append(f"val_set_size: {share} (data.validation_split is a share of the rows)")


def put_tuning(made: Imported, keys: Keys, kind: str, four_bit: bool) -> None:
    """The method, by what the config calls it."""
    method = "qlora" if kind == "qlora" or (kind == "lora" and four_bit) else kind
    if method not in ("full", "lora", "qlora"):
        made.unmapped.append(f"{kind}: this method is not known here; lora stands in its place")
        method = "lora"
    made.put("train.tuning.method", method)
    for key, place in _ADAPTER.items():
        value = number(keys.take(key))
        if method != "full":
            made.put(place, value)


def put_template(made: Imported, name: Any, text: Any, own: str, same: Mapping[str, str]) -> None:
    """Templates have names of each tool's own: one of ours that writes the `same` is named, else the tokenizer's is used,
    which is that of the model."""
    if text:
        made.unmapped.append("chat_template_jinja: write it into a file and name it in data.chat_template")
    elif name in same:
        made.put("data.chat_template", same[name])
        made.notes.append(f"template {name}: ours of that name writes the same, but what calls tools in its own way")
    elif name and name != own:
        made.notes.append(
            f"template {name}: the tokenizer's own chat template is used; where that is another, name a Jinja file in "
            "data.chat_template"
        )


def _batch(made: Imported, keys: Keys, gpus: int, key: str, whole: int | None) -> None:
    micro, steps = keys.count(key) or 1, keys.count("gradient_accumulation_steps") or 1
    total = whole or micro * steps * gpus
    made.put("train.train_batch_size", total)
    made.put("train.per_device_train_batch_size", micro)
    if whole is None:
        made.notes.append(
            f"train_batch_size counts all devices: {total} = {key} {micro} × gradient_accumulation_steps {steps} × "
            f"{gpus} GPU{'s' * (gpus > 1)} (--gpus says how many there were)"
        )


def _schedule(made: Imported, keys: Keys) -> None:
    name = keys.text("lr_scheduler", "lr_scheduler_type") or "cosine"
    if name in SCHEDULES:
        made.put("train.lr_scheduler_type", name)
    else:
        made.unmapped.append(f"lr_scheduler: {name}; known are {', '.join(SCHEDULES)}")
    steps, ratio = number(keys.take("warmup_steps")), number(keys.take("warmup_ratio"))
    made.put("train.warmup_steps", steps or ratio or 0)


def _precision(made: Imported, keys: Keys) -> None:
    half = bool(keys.take("fp16", "float16"))
    wanted = keys.take("bf16", "bfloat16", "pure_bf16")
    made.put("train.bf16", not half if wanted is None or wanted == "auto" else bool(wanted))
    made.put("train.fp16", (half and wanted in (None, False)) or None)


def _engine(made: Imported, keys: Keys, folder: Path, gpus: int) -> None:
    told = keys.take("deepspeed")
    if not isinstance(told, str | dict | None):
        raise BadRecipe("deepspeed is neither a path nor an object", place="deepspeed", value=told)
    if keys.take("fsdp", "fsdp_config"):
        made.put("train.deepspeed", "zero3")
        made.notes.append("fsdp: ZeRO-3 shares the same states; fsdp_config has no counterpart")
    else:
        made.put("train.deepspeed", _preset(made, told, folder) if told else "none")
    made.put("train.num_processes", gpus if gpus > 1 else None)


def _preset(made: Imported, told: Any, folder: Path) -> str:
    """The preset of a DeepSpeed JSON, or of one's name where it is not there."""
    found = told if isinstance(told, dict) else _read(Path(str(told)), folder)
    if found is None:
        stage = next(iter(re.findall(r"(?:zero|z)_?([0-3])", str(told).lower())), "2")
        offload = "offload" in str(told).lower()
        made.notes.append(f"deepspeed: {told} is not there; the preset is by its name")
    else:
        zero = found.get("zero_optimization") or {}
        if not isinstance(zero, dict):
            raise BadRecipe("zero_optimization is no object", place="deepspeed", value=zero)
        stage = str(zero.get("stage", 0))
        offload = any('"cpu"' in json.dumps(zero.get(f"offload_{part}")) for part in ("optimizer", "param"))
        made.notes.append(f"deepspeed: the preset of its stage; to keep every key of the JSON: train.deepspeed: {told}")
    name = f"zero{stage}" if stage in ("1", "2", "3") else "none"
    return f"{name}_offload" if offload and stage in ("2", "3") else name


def _read(path: Path, folder: Path) -> dict[str, Any] | None:
    for place in (path, folder / path):
        if place.is_file():
            return read_json(place)
    return None
