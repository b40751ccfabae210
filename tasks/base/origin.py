"""What a base model is made of on disk, and its hash. Light: the stage asks before any worker starts."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.errors import BadModel
from infra.frozen import digest
from infra.storage import sources
from infra.storage.objects import sha256_of
from tasks.base.config import BaseConfig

PLACE = "base.model_name_or_path"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
OnFile = Callable[[str, int, int], None]  # a file's name, how many came before it, and how many there are

_OTHER_WEIGHTS = (".gguf", ".msgpack", ".h5", ".onnx")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LICENCES = ("LICENSE", "LICENCE", "NOTICE", "COPYING")


def locate(config: BaseConfig) -> Path:
    """The folder or .gguf file on this machine; BadRecipe where it is not there, BadModel where it is neither."""
    path = sources.local_path(config.model_name_or_path, PLACE)
    if path.is_file() and path.suffix != ".gguf":
        raise BadModel(
            "the base model is a file, but no GGUF file",
            place=PLACE,
            value=path.name,
            remedy="name the folder that holds config.json, or a .gguf file",
        )
    if config.sha256 is not None:
        _require_hash(path, config.sha256)
    return path


def _require_hash(path: Path, expected: str) -> None:
    if path.is_dir():
        raise BadModel(
            "a hash was given for a folder",
            place="base.sha256",
            value=path.name,
            remedy="leave base.sha256 out: every file of a folder is hashed and recorded anyway",
        )
    actual = hash_of(path)[1]
    if actual != expected:
        raise BadModel(
            "the base model is not the file that the recipe names",
            place="base.sha256",
            value=f"expected {expected}, found {actual}",
            remedy="fetch the file again, or correct base.sha256 if the other file is meant",
        )


def tokenizer_files(path: Path) -> list[Path]:
    """What the tokenizer is made from: the .gguf file, or everything in the folder that is text."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and is_text(file.name))


def is_text(name: str) -> bool:
    """Whether a file's name is that of something a tokenizer may be made from."""
    return not name.startswith(".") and not name.endswith((".safetensors", INDEX, ".md", *_OTHER_WEIGHTS, *_PICKLES))


def is_weights(name: str) -> bool:
    """Whether a file's name is that of something the weights are made from, or that says whose they are."""
    return is_about_weights(name) or name.endswith(".safetensors")


def is_about_weights(name: str) -> bool:
    """Whether a file's name is that of something which says of weights what they are and whose."""
    return name in ("config.json", "generation_config.json", "README.md", INDEX) or name.upper().startswith(_LICENCES)


def weight_files(path: Path) -> list[Path]:
    """What the weights are made from: the .gguf file, or config, index, shards and licence of a folder.

    Raises BadModel for pickles, custom code, quantised weights, and missing or foreign shards.
    """
    if path.is_file():
        return [path, *licence_files(path)]
    refuse_unusable(path)
    optional = [path / name for name in (INDEX, "generation_config.json", "README.md") if (path / name).is_file()]
    return [path / "config.json", *optional, *shards(path), *licence_files(path)]


def shards(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that the index names, or the single one."""
    paths = [folder / name for name in shard_names(folder)]
    for path in paths:
        if not path.is_file():
            raise _no_weights(folder, path.name)
    return paths


def shard_names(folder: Path) -> list[str]:
    """What the weights' files are called: as the index says, or the one name that needs no index."""
    if not (folder / INDEX).is_file():
        return [SINGLE]
    names = sorted(set(map(str, read_json(folder / INDEX).get("weight_map", {}).values())))
    for name in names:
        if Path(name).name != name:
            raise _no_weights(folder, name)
    return names


def _no_weights(folder: Path, name: str) -> BadModel:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        return BadModel(
            "the weights are pickles, and loading a pickle runs whatever code is in it",
            place=PLACE,
            value=", ".join(pickles),
            remedy="convert them where you trust them: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new)",
        )
    return BadModel("a file with weights is missing", place=PLACE, value=name, remedy="fetch the model again, whole")


def licence_files(path: Path) -> list[Path]:
    """Licence and notice files that lie with the model."""
    folder = path if path.is_dir() else path.parent
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name.upper().startswith(_LICENCES))


def refuse_code(folder: Path, name: str) -> None:
    """BadModel where a config asks for Python code that comes with the model."""
    if read_json(folder / name).get("auto_map"):
        raise BadModel(
            "the model brings Python code of its own, which is not run",
            place=f"{PLACE}: {name}",
            value="auto_map",
            remedy="use a model whose architecture transformers has built in",
        )


def refuse_unusable(folder: Path) -> None:
    """BadModel where config.json asks for code of its own or tells of quantised weights, or is none."""
    refuse_code(folder, "config.json")
    if read_json(folder / "config.json").get("quantization_config"):
        raise BadModel(
            "the weights are quantised already",
            place=f"{PLACE}: config.json",
            value="quantization_config",
            remedy="name the original weights; to train on 4 bits use method: qlora",
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the model's folder; BadModel where it is missing or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BadModel(
            "the folder is no model in Hugging Face layout",
            place=PLACE,
            value=f"no {path.name}",
            remedy="name the folder that holds config.json and *.safetensors, or a .gguf file",
        ) from None
    except ValueError as error:
        raise BadModel(f"{path.name} cannot be read", place=PLACE, value=error, remedy="fetch the file again") from None
    if not isinstance(value, dict):
        raise BadModel(f"{path.name} is no JSON object", place=PLACE, remedy="fetch the file again")
    return value


def pin(files: list[Path]) -> str:
    """One hash over names and content. A .gguf file's name says nothing about it and is left out."""
    return digest([["" if file.suffix == ".gguf" else file.name, hash_of(file)[1]] for file in files])


def hash_of(file: Path) -> tuple[int, str]:
    """Size and sha256; a file that did not change is read once a process."""
    stat = os.stat(file)
    return _hash(file, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hash(file: Path, _inode: int, _size: int, _mtime_ns: int) -> tuple[int, str]:
    return sha256_of(file)
