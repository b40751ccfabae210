"""Axolotl's config, key by key (axolotl/utils/schemas)."""

from pathlib import Path
from typing import Any

from pipelines.foreign.made import Imported, Keys, put_sources
from pipelines.foreign.training import put_common, put_template, put_tuning
from tasks.data import foreign


def axolotl(keys: Keys, folder: Path, gpus: int) -> Imported:
    made = Imported("Axolotl")
    entries = _entries(keys.take("datasets", "pretraining_dataset"))
    put_sources(made, [foreign.axolotl(entry, folder) for entry in entries])
    if held := [foreign.axolotl(entry, folder) for entry in _entries(keys.take("test_datasets"))]:
        made.put("data.validation_files", [file for source in held for file in source.settings["files"]])
    made.put("data.packing", bool(keys.take("sample_packing")))
    made.put("data.prompt_loss_weight", 1.0 if keys.take("train_on_inputs") else 0.0)
    adapter, four_bit = keys.text("adapter"), keys.take("load_in_4bit")
    put_tuning(made, keys, adapter or "full", bool(four_bit))
    modules, everything = keys.take("lora_target_modules"), keys.take("lora_target_linear")
    if adapter:
        made.put("train.tuning.target_modules", "all-linear" if everything else modules)
    put_common(made, keys, folder, gpus, ("micro_batch_size", keys.count("batch_size")))
    put_template(made, keys.take("chat_template"), keys.take("chat_template_jinja"), "tokenizer_default")
    made.finish(keys)
    return made


def _entries(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value] if value else []
    return [item if isinstance(item, dict) else {"path": str(item)} for item in items]
