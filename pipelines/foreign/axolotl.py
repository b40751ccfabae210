"""Axolotl's config, key by key (axolotl/utils/schemas)."""

from pathlib import Path
from typing import Any

from pipelines.foreign.made import Imported, Keys, put_sources
from pipelines.foreign.objective import put_objective
from pipelines.foreign.training import put_common, put_template, put_tuning
from tasks.data import foreign

# Its templates that write conversations without tools as ours do, byte for byte (axolotl/utils/chat_templates).
SAME = {"chatml": "chatml", "llama3": "llama3", "gemma": "gemma"}


def axolotl(keys: Keys, folder: Path, gpus: int) -> Imported:
    made = Imported("Axolotl")
    entries = _entries(keys.take("datasets", "pretraining_dataset"))
    entries = _roles(made, entries)
    put_sources(made, [foreign.axolotl(entry, folder) for entry in entries])
    if held := [foreign.axolotl(entry, folder) for entry in _entries(keys.take("test_datasets"))]:
        made.put("data.validation_files", [file for source in held for file in source.settings["files"]])
    made.put("data.packing", bool(keys.take("sample_packing")))
    made.put("data.prompt_loss_weight", 1.0 if keys.take("train_on_inputs") else 0.0)
    kind = keys.text("rl")
    if kind in ("dpo", "ipo", "kto"):
        put_objective(made, keys, "kto" if kind == "kto" else "dpo", "ipo" if kind == "ipo" else None)
    elif kind is not None:
        made.unmapped.append(f"rl: {kind} (nothing trains in this way here)")
    adapter, four_bit = keys.text("adapter"), keys.take("load_in_4bit")
    put_tuning(made, keys, adapter or "full", bool(four_bit))
    modules, everything = keys.take("lora_target_modules"), keys.take("lora_target_linear")
    if adapter:
        made.put("train.tuning.target_modules", "all-linear" if everything else modules)
    put_common(made, keys, folder, gpus, ("micro_batch_size", keys.count("batch_size")))
    put_template(made, keys.take("chat_template"), keys.take("chat_template_jinja"), "tokenizer_default", SAME)
    made.finish(keys)
    return made


def _roles(made: Imported, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whose messages are learned is said once here: where all data sets say the same, it is carried over from them."""
    first = entries[0].get("roles_to_train") if entries else None
    names = [foreign.role(str(name)) for name in first] if isinstance(first, list) else []
    if not names or None in names or any(entry.get("roles_to_train") != first for entry in entries):
        return entries
    made.put("data.roles_to_train", names if names != ["assistant"] else None)
    return [{key: value for key, value in entry.items() if key != "roles_to_train"} for entry in entries]


def _entries(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value] if value else []
    return [item if isinstance(item, dict) else {"path": str(item)} for item in items]
