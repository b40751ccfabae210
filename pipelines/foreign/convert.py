"""Configs of Axolotl and LLaMA-Factory → a recipe: what has a counterpart is carried over, all else is told."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from infra.errors import BadRecipe
from infra.frozen import Frozen
from pipelines.foreign.axolotl import axolotl
from pipelines.foreign.llamafactory import llamafactory
from pipelines.foreign.made import Imported, Keys
from tasks.base.config import BaseConfig
from tasks.data.config import DataConfig
from tasks.training.config import TrainConfig


def convert(path: Path, gpus: int = 1, dataset_info: Path | None = None) -> Imported:
    """The recipe of a config file; BadRecipe where it is of neither tool.

    `gpus` is how many the config was used on, as both tools count batches on each. `dataset_info` is
    LLaMA-Factory's dataset_info.json, where it is not in the config's dataset_dir.
    """
    raw = _mapping(path)
    for name in ("base_model", "model_name_or_path"):
        if name in raw and not isinstance(raw[name], str):
            raise BadRecipe("the model's name is no text", place=name, value=raw[name])
    if "base_model" in raw:
        made = axolotl(Keys(raw), path.parent, gpus)
    elif "model_name_or_path" in raw:
        made = llamafactory(Keys(raw), path.parent, gpus, dataset_info)
    else:
        raise BadRecipe(
            "this is a config of neither Axolotl nor LLaMA-Factory",
            place=str(path),
            value=", ".join(map(str, raw))[:200],
            remedy="Axolotl's has base_model, LLaMA-Factory's model_name_or_path",
        )
    made.notes += _complaints(made)
    return made


def _mapping(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRecipe("the config cannot be read", place=str(path), value=error) from None
    if not isinstance(raw, dict):
        raise BadRecipe("the config is not a mapping of keys", place=str(path))
    return raw


def _complaints(made: Imported) -> Iterator[str]:
    """What the sections would be refused for, had a recipe them as they are."""
    data = made.sections["data"]
    if any(not isinstance(item, str) for item in data["train_files"]):
        data = {**data, "train_files": [file for item in data["train_files"] for file in item["files"]]}
    kinds: dict[str, tuple[type[Frozen], Mapping[str, Any]]] = {
        "base": (BaseConfig, made.sections["base"]),
        "data": (DataConfig, data),
        "train": (TrainConfig, made.sections["train"]),
    }
    for name, (kind, section) in kinds.items():
        try:
            kind.model_validate(section)
        except ValidationError as error:
            for item in error.errors():
                yield f"to mend: {'.'.join(map(str, (name, *item['loc'])))}: {item['msg'].removeprefix('Value error, ')}"
