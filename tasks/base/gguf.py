"""Reading GGUF files with transformers, made quick enough for a quickstart."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infra.errors import BadModel
from tasks.base.origin import PLACE


def tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer inside a GGUF file, chat template included."""
    with _said_as_bad_model(path):
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def model(path: Path, dtype: str) -> PreTrainedModel:
    """The weights of a GGUF file, dequantised, as a model that no longer knows of any quantisation."""
    with _said_as_bad_model(path):
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=getattr(torch, dtype))
    # save_pretrained refuses a model that believes to be quantised still
    loaded.hf_quantizer = None
    loaded.is_quantized = False
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(loaded.config, name):
            delattr(loaded.config, name)
    loaded.generation_config._from_model_config = False  # else it is made anew, and not read, at each load
    return loaded


def licence(path: Path) -> str | None:
    """What the file says of its own licence."""
    field = gguf.GGUFReader(str(path)).fields.get("general.license")
    return None if field is None else str(field.contents())


@contextmanager
def read_once() -> Iterator[None]:
    """Inside, a GGUF file is parsed once.

    By itself transformers parses the vocabulary at every look (seconds each), and builds the table of tensor names
    once for every submodule (10 s for 30 layers).
    """
    kept: dict[str, Any] = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, slow in kept.items():
        setattr(gguf, name, cache(slow))
    try:
        yield
    finally:
        for name, slow in kept.items():
            setattr(gguf, name, slow)


@contextmanager
def _said_as_bad_model(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, NotImplementedError, IndexError) as error:
        raise BadModel(
            "the GGUF file cannot be read",
            place=PLACE,
            value=f"{path.name}: {error}",
            remedy="check that the file is whole and its architecture one that transformers reads from GGUF",
        ) from error
