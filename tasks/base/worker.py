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
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from infra.errors import BadModel
from infra.launch.work import Summary, Work, main
from infra.models import tensors
from infra.storage import reference
from infra.storage.reference import Reference
from tasks.base import bucket, gguf, hub, origin
from tasks.base.config import BaseConfig
from tasks.base.origin import PLACE

PROBE = "Zażółć gęślą jaźń: 3 tickets, 你好, <|im_end|>\n\tnext"


def work(job: Work[BaseConfig]) -> Summary:
    """The stage's name says which of the two is wanted."""
    if job.spec.stage == "weights" and not job.config.copy_weights:
        return refer_to_weights(job)
    path = _path(job)
    with gguf.read_once():
        if job.spec.stage == "tokenizer":
            return make_tokenizer(job, path)
        return make_weights(job, path)


def _path(job: Work[BaseConfig]) -> Path:
    """The model on this machine, fetched if need be."""
    name, at, weights = job.config.model_name_or_path, str(job.config.revision), job.spec.stage == "weights"
    if job.config.is_hub_id:
        return hub.fetch(name, at, weights=weights, on_file=_told(job, "fetching"))
    if not job.config.is_in_bucket:
        return origin.locate(job.config)
    if weights:
        job.require_space(2 * bucket.size(name), "the weights, as they are and as they are stored")
    wanted = origin.is_weights if weights else origin.is_text
    return bucket.fetch(name, at, job.scratch / "fetched", wanted=wanted, on_file=_told(job, "fetching"))


def _told(job: Work[BaseConfig], doing: str) -> origin.OnFile:
    return lambda name, number, count: job.beat(f"{doing} {name}", number, count)


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
    _copy_licences(job, path)
    _write_source(job, origin.weight_files(path), licence)
    stored = tensors.open_folder(job.out).values()
    return _summary(job, sum(one.count for one in stored), sum(one.bytes for one in stored), licence)


def refer_to_weights(job: Work[BaseConfig]) -> Summary:
    """The same without the safetensors, which stay where they are: reference.json says where, and what each must be."""
    name, at = job.config.model_name_or_path, str(job.config.revision)
    path, found = _reference(job, name, at)
    origin.refuse_unusable(path)
    _require_known(path)
    _write_configs(job, path)
    _copy_licences(job, path)
    if (path / origin.INDEX).is_file():
        shutil.copyfile(path / origin.INDEX, job.out / origin.INDEX)
    reference.write(job.out, found)
    licence = _licence_of_card(path / "README.md")
    _write_source(job, [path / "config.json", *origin.licence_files(path)], licence)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job.out))
    count = sum(parameter.numel() for parameter in model.parameters())
    return _summary(job, count, sum(file.size for file in found.files), licence) | {"weights": f"{name}@{at}"}


def _reference(job: Work[BaseConfig], name: str, at: str) -> tuple[Path, Reference]:
    """The texts about the weights on this machine, and the reference to the weights themselves."""
    if job.config.is_hub_id:
        folder = hub.fetch(name, at, weights=False, on_file=_told(job, "fetching"))
        return folder, hub.refer(name, at, folder)
    about = origin.is_about_weights
    folder = bucket.fetch(name, at, job.scratch / "fetched", wanted=about, on_file=_told(job, "fetching"))
    return folder, bucket.refer(name, at, folder, on_file=_told(job, "hashing"))


def _summary(job: Work[BaseConfig], parameters: int, size: int, licence: str | None) -> Summary:
    return {
        "parameters": parameters,
        "bytes": size,
        "dtype": job.config.dtype,
        "architecture": origin.read_json(job.out / "config.json")["architectures"][0],
        "license": job.config.license or licence,
    }


def _copy_licences(job: Work[BaseConfig], path: Path) -> None:
    card = path / "README.md"
    for file in [*origin.licence_files(path), *([card] if card.is_file() else [])]:
        shutil.copyfile(file, job.out / file.name)


def _from_gguf(job: Work[BaseConfig], path: Path) -> str | None:
    model = gguf.model(path, job.config.dtype)
    job.beat("writing safetensors")
    model.save_pretrained(job.out)
    return gguf.licence(path)


def _from_folder(job: Work[BaseConfig], path: Path) -> str | None:
    origin.weight_files(path)
    _require_known(path)
    wanted = getattr(torch, job.config.dtype)

    def promised(tensor: tensors.Tensor) -> tensors.Shape:
        dtype = wanted if tensor.dtype.is_floating_point else tensor.dtype
        return tensors.Shape(tensor.name, dtype, tensor.shape)

    tensors.rewrite(path, job.out, promised, lambda tensor: tensor.read().to(promised(tensor).dtype))
    _write_configs(job, path)
    return _licence_of_card(path / "README.md")


def _write_configs(job: Work[BaseConfig], path: Path) -> None:
    """config.json with the wanted dtype, which is what `dtype="auto"` loads weights in, and generation_config.json."""
    config = origin.read_json(path / "config.json")
    config.pop("torch_dtype", None)
    config.pop("_name_or_path", None)
    _write_json(job.out / "config.json", config | {"dtype": job.config.dtype})
    if (path / "generation_config.json").is_file():
        shutil.copyfile(path / "generation_config.json", job.out / "generation_config.json")
    else:
        GenerationConfig.from_model_config(AutoConfig.from_pretrained(path)).save_pretrained(job.out)


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
