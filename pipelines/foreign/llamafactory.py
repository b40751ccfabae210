"""LLaMA-Factory's config, key by key (llamafactory/hparams), with the data sets of its dataset_info.json."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.foreign.made import Imported, Keys, limit_rows, put_sources, read_json
from pipelines.foreign.objective import put_objective
from pipelines.foreign.training import put_common, put_template, put_tuning
from tasks.data import foreign

# Its templates that write conversations without tools as ours do, but for white space around a content (data/template.py).
SAME = {"chatml": "chatml", "llama3": "llama3", "gemma": "gemma", "gemma3": "gemma"}


def llamafactory(keys: Keys, folder: Path, gpus: int, dataset_info: Path | None) -> Imported:
    made, stage = Imported("LLaMA-Factory"), keys.text("stage") or "sft"
    if stage in ("dpo", "kto"):
        put_objective(made, keys, stage, keys.take("pref_loss") if stage == "dpo" else None)
    elif stage not in ("sft", "pt"):
        made.unmapped.append(f"stage: {stage} (nothing trains in this way here)")
    at = keys.text("dataset_dir") or "data"
    info, lies = _dataset_info(made, dataset_info, at, folder)
    put_sources(made, _named(made, keys.take("dataset"), info, lies, stage))
    if held := _named(made, keys.take("eval_dataset"), info, lies, stage):
        made.put("data.validation_files", [file for source in held for file in source.settings["files"]])
    if limit := keys.count("max_samples"):
        limit_rows(made, limit)
    packing = [keys.take("packing"), keys.take("neat_packing")]
    made.put("data.packing", any(packing) or (stage == "pt" and packing[0] is None))
    made.put("data.prompt_loss_weight", 1.0 if keys.take("train_on_prompt") else 0.0)
    made.put("data.train_on_last_turn", bool(keys.take("mask_history")) or None)
    kind = keys.text("finetuning_type") or "lora"
    put_tuning(made, keys, kind, keys.take("quantization_bit") == 4)
    if kind == "lora":
        made.put("train.tuning.lora_r", keys.count("lora_rank") or 8)
        target = keys.text("lora_target") or "all"
        made.put("train.tuning.target_modules", "all-linear" if target == "all" else re.split(r"\s*,\s*", target))
        tuning = made.sections["train"]["tuning"]
        tuning.setdefault("lora_alpha", 2 * tuning["lora_r"])
    put_common(made, keys, folder, gpus, ("per_device_train_batch_size", None))
    put_template(made, keys.take("template"), None, "default", SAME)
    made.finish(keys)
    return made


def _named(made: Imported, names: Any, info: Mapping[str, Any], lies: Path, stage: str) -> list[foreign.Source]:
    given = names.split(",") if isinstance(names, str) else names if isinstance(names, list) else []
    listed = [str(name).strip() for name in given]
    found = {name: info[name] for name in listed if isinstance(info.get(name), dict)}
    made.unmapped += [
        f"dataset: {name} (not in the dataset_info.json that was read)" for name in listed if name not in found
    ]
    return [foreign.llamafactory(entry, lies, stage) for entry in found.values()]


def _dataset_info(made: Imported, given: Path | None, at: str, folder: Path) -> tuple[Mapping[str, Any], Path]:
    """dataset_info.json, and where it lies: as given, or by dataset_dir from here, the config, or a folder above it."""
    places = (
        [given] if given else [root / at / "dataset_info.json" for root in (Path(), folder, *folder.resolve().parents)]
    )
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        made.notes.append(f"dataset_info.json was not found in {at}: give it with --dataset-info")
        return {}, Path(at)
    return read_json(found), Path(os.path.relpath(found.parent))
