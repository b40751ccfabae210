"""Make one of a base model's two artifacts: the tokenizer, or the weights as safetensors."""

import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is a file here; a look at the hub would only cost its timeout

import torch
from pydantic import JsonValue
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from infra.errors import BadModel
from infra.launch.work import Summary, Work, main
from infra.models import tensors
from tasks.base import bucket, gguf, hub, origin
from tasks.base.config import BaseConfig
from tasks.base.origin import PLACE

PROBE = "Zażółć gęślą jaźń: 3 tickets, 你好, <|im_end|>\n\tnext"


def work(job: Work[BaseConfig]) -> Summary:
    """The stage's name says which of the two is wanted."""
    path = _path(job)
    with gguf.read_once():
        if job.spec.stage == "tokenizer":
            return make_tokenizer(job, path)
        return make_weights(job, path)


def _path(job: Work[BaseConfig]) -> Path:
    """The model on this machine, fetched if need be."""

    def told(name: str, number: int, count: int) -> None:
        job.beat(f"fetching {name}", number, count)

    name, at, weights = job.config.model_name_or_path, str(job.config.revision), job.spec.stage == "weights"
    if job.config.is_hub_id:
        return hub.fetch(name, at, weights=weights, on_file=told)
    if not job.config.is_in_bucket:
        return origin.locate(job.config)
    if weights:
        job.require_space(2 * bucket.size(name), "the weights, as they are and as they are stored")
    return bucket.fetch(name, at, job.scratch / "fetched", weights=weights, on_file=told)


def make_tokenizer(job: Work[BaseConfig], path: Path) -> Summary:
    """Load, settle pad and eos, store, and see that what was stored reads the same."""
    job.beat("reading the tokenizer")
    tokenizer = gguf.tokenizer(path) if path.is_file() else _folder_tokenizer(path)
    if tokenizer.eos_token_id is None:
        raise BadModel(
            "the tokenizer has no end-of-sequence token, so a tuned model would not know when to stop",
            place=f"{PLACE}: tokenizer_config.json",
            remedy="set eos_token there",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(job.out)
    _forget_place(job.out / "tokenizer_config.json")
    _require_same(tokenizer, AutoTokenizer.from_pretrained(job.out))
    _write_source(job, origin.tokenizer_files(path), None)
    return {
        "tokens": len(tokenizer),
        "eos": tokenizer.eos_token,
        "pad": tokenizer.pad_token,
        "chat_template": tokenizer.chat_template is not None,
    }


def _folder_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    origin.refuse_code(folder, "tokenizer_config.json")
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (ValueError, OSError, KeyError) as error:
        raise BadModel(
            "the tokenizer cannot be loaded",
            place=PLACE,
            value=error,
            remedy="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error


def _forget_place(config: Path) -> None:
    # How it was loaded here says nothing about the tokenizer.
    kept = {
        name: value for name, value in origin.read_json(config).items() if name not in ("is_local", "local_files_only")
    }
    _write_json(config, kept)


def _require_same(before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase) -> None:
    def traits(one: PreTrainedTokenizerBase) -> list[object]:
        return [one.chat_template, one.eos_token_id, one.pad_token_id, one.bos_token_id, len(one), one(PROBE).input_ids]

    if traits(before) != traits(after):
        raise BadModel(
            "the tokenizer does not survive being stored",
            place=PLACE,
            value=f"{traits(before)} became {traits(after)}",
            remedy="convert it with AutoTokenizer.from_pretrained(folder).save_pretrained(new) and look at the difference",
        )


def make_weights(job: Work[BaseConfig], path: Path) -> Summary:
    """Safetensors in the wanted dtype, config.json and generation_config.json, licence files, source.json."""
    job.beat("reading the weights")
    licence = _from_gguf(job, path) if path.is_file() else _from_folder(job, path)
    card = path / "README.md"
    for file in [*origin.licence_files(path), *([card] if card.is_file() else [])]:
        shutil.copyfile(file, job.out / file.name)
    _write_source(job, origin.weight_files(path), licence)
    stored = tensors.open_folder(job.out).values()
    return {
        "parameters": sum(tensor.count for tensor in stored),
        "bytes": sum(tensor.bytes for tensor in stored),
        "dtype": job.config.dtype,
        "architecture": origin.read_json(job.out / "config.json")["architectures"][0],
        "license": job.config.license or licence,
    }


def _from_gguf(job: Work[BaseConfig], path: Path) -> str | None:
    model = gguf.model(path, job.config.dtype)
    job.beat("writing safetensors")
    model.save_pretrained(job.out)
    return gguf.licence(path)


def _from_folder(job: Work[BaseConfig], path: Path) -> str | None:
    files = origin.weight_files(path)
    _require_known(path)
    wanted = getattr(torch, job.config.dtype)

    def promised(tensor: tensors.Tensor) -> tensors.Shape:
        dtype = wanted if tensor.dtype.is_floating_point else tensor.dtype
        return tensors.Shape(tensor.name, dtype, tensor.shape)

    tensors.rewrite(path, job.out, promised, lambda tensor: tensor.read().to(promised(tensor).dtype))
    config = origin.read_json(path / "config.json")
    config.pop("torch_dtype", None)
    config.pop("_name_or_path", None)
    _write_json(job.out / "config.json", config | {"dtype": job.config.dtype})
    if path / "generation_config.json" in files:
        shutil.copyfile(path / "generation_config.json", job.out / "generation_config.json")
    else:
        GenerationConfig.from_model_config(AutoConfig.from_pretrained(path)).save_pretrained(job.out)
    return _licence_of_card(path / "README.md")


def _require_known(folder: Path) -> None:
    kind = origin.read_json(folder / "config.json").get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise BadModel(
            "the model is no causal language model that transformers knows",
            place=f"{PLACE}: config.json",
            value=f"model_type: {kind}",
            remedy="use a model of a supported architecture, or a newer transformers",
        )


def _licence_of_card(card: Path) -> str | None:
    """The `license:` line of a model card's front matter."""
    if not card.exists():
        return None
    lines = card.read_text(errors="replace").splitlines()
    front = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    found = [line.partition(":")[2].strip() for line in front if line.startswith("license:")]
    return found[0] if found else None


def _write_source(job: Work[BaseConfig], files: list[Path], licence: str | None) -> None:
    sizes = {file.name: origin.hash_of(file) for file in files}
    entries: list[JsonValue] = [{"name": name, "size": size, "sha256": sha} for name, (size, sha) in sizes.items()]
    source: dict[str, JsonValue] = {"files": entries, "license": job.config.license or licence}
    if job.config.is_hub_id:
        source |= {"hub": job.config.model_name_or_path, "revision": job.config.revision}
    if job.config.is_in_bucket:
        source |= {"bucket": job.config.model_name_or_path, "revision": job.config.revision}
    _write_json(job.out / "source.json", source)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(BaseConfig, work)
