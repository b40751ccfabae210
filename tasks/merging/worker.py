"""Merge, certify, and lay the result out so that transformers, vLLM and MLflow load it where it lies."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is a file here; a look at the hub would only cost its timeout

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from infra.errors import BadMerge
from infra.launch.work import Summary, Work, main
from infra.models import nf4, tensors
from infra.models.load import load
from infra.models.tensors import Shape, Tensor
from infra.tracking import flavor
from tasks.merging import layout, lora, parity
from tasks.merging.adapter import keep
from tasks.merging.config import MergeConfig
from tasks.merging.parity import Parity


def work(job: Work[MergeConfig]) -> Summary:
    """Weights first, from files alone; only then are models loaded and compared.

    The order matters: on the CPU bitsandbytes repacks a 4-bit model's weights at its first forward pass, and whatever
    is merged from such a model is garbage without an error.
    """
    training = json.loads((job.inputs["adapter"] / "training.json").read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(job.inputs["tokenizer"])
    model = job.out / "model"
    model.mkdir()
    if job.config.method == "none":
        return keep(job, training, tokenizer, model)
    base = _base(job.config, training)
    count = sum(tensor.count for tensor in tensors.open_folder(job.inputs["weights"]).values())
    job.require_space(count * getattr(torch, job.config.dtype).itemsize, "the merged model")
    job.beat("merging")
    size = merge_weights(job.inputs["weights"], job.inputs["adapter"], training, base, job.config.dtype, model)
    lay_out(job, tokenizer, model)
    job.beat("comparing the merged model with the adapter")
    certificate = certify(job, training, model)
    (job.out / "parity.json").write_text(layout.as_json(certificate.model_dump() | {"base": base}))
    job.beat("parity", kl=certificate.kl, top1=certificate.top1)
    require_parity(certificate, job.config, base)
    flavor.write(job.out, job.spec.key)
    figures = {name: round(getattr(certificate, name), 6) for name in ("kl", "top1", "greedy_match")}
    return {"base": base, **figures, "bytes": size, "dtype": job.config.dtype, "parity": "passed"}


def _base(config: MergeConfig, training: dict[str, Any]) -> str:
    if training["method"] == "full":
        return "none"
    if config.base == "dequantized" and not training.get("quantization"):
        raise BadMerge(
            "the adapter was not trained on 4 bits, so there is nothing to dequantise",
            place="merge.base",
            value=config.base,
            remedy="use merge.base: auto",
        )
    if config.base == "auto":
        return "dequantized" if training.get("quantization") else "original"
    return config.base


def merge_weights(weights: Path, adapter: Path, training: dict[str, Any], base: str, dtype: str, out: Path) -> int:
    """Write the merged .safetensors files with one tensor in memory; the bytes of all tensors.

    `base`: dequantized | original | none (the adapter folder holds a whole model).
    """
    wanted: torch.dtype = getattr(torch, dtype)
    source = adapter if base == "none" else weights
    deltas = {} if base == "none" else lora.read(adapter, tensors.open_folder(weights))
    quantization = training.get("quantization") or {}
    in_4_bits = nf4.quantised_weights(weights, quantization) if base == "dequantized" else set()
    trained: torch.dtype = getattr(torch, training["dtype"])

    def promised(tensor: Tensor) -> Shape:
        return Shape(tensor.name, wanted if tensor.dtype.is_floating_point else tensor.dtype, tensor.shape)

    def made(tensor: Tensor) -> torch.Tensor:
        value = tensor.read()
        if base != "none" and value.is_floating_point():
            value = value.to(trained)
        if tensor.name in in_4_bits:
            value = nf4.roundtrip(value, quantization)
        if tensor.name in deltas:
            value = deltas[tensor.name].add_to(value)
        return value.to(promised(tensor).dtype)

    return tensors.rewrite(source, out, promised, made)


def lay_out(job: Work[MergeConfig], tokenizer: PreTrainedTokenizerBase, model: Path) -> None:
    """Configs, tokenizer and licence beside the weights, and the tokenizer once more where MLflow looks for it."""
    weights, adapter = job.inputs["weights"], job.inputs["adapter"]
    config = json.loads((weights / "config.json").read_bytes())
    # A method that adds tokens or unties embeddings says so in the config that it saved.
    if (adapter / "config.json").exists():
        config = json.loads((adapter / "config.json").read_bytes())
    (model / "config.json").write_text(layout.as_json(config | {"dtype": job.config.dtype}))
    layout.write_generation_config((weights / "generation_config.json").read_bytes(), tokenizer, model)
    for folder in (model, job.out / "components" / "tokenizer"):
        layout.copy_tokenizer(job, folder)
    for file in weights.iterdir():
        if layout.is_licence(file.name):
            shutil.copyfile(file, model / file.name)


def certify(job: Work[MergeConfig], training: dict[str, Any], model: Path) -> Parity:
    """Adapter on its training base against the merged model; BadMerge where there is nothing to ask."""
    asked = parity.questions(job.read("dataset", "prompts.jsonl").splitlines(), job.config.parity_prompts)
    if not asked:
        raise BadMerge(
            "there are no held-out prompts to compare the models on",
            place="prompts.jsonl",
            remedy="keep some rows for validation: data.validation_split above 0",
        )
    return parity.compare(
        _adapter(job.inputs["weights"], job.inputs["adapter"], training),
        lambda: load(model, job.config.dtype),
        asked,
        job.scratch / "parity",
    )


def _adapter(weights: Path, adapter: Path, training: dict[str, Any]) -> Callable[[], PreTrainedModel]:
    if training["method"] == "full":
        return lambda: load(adapter, training["dtype"])
    return lambda: load(weights, training["dtype"], training.get("quantization"), adapter)


def require_parity(found: Parity, config: MergeConfig, base: str) -> None:
    """BadMerge where the certificate is outside the recipe's bounds; NaN is outside of any."""
    if found.kl <= config.max_kl and found.top1 >= config.min_top1:
        return
    other = "dequantized (merge.base: auto)" if base == "original" else "float32 (merge.dtype: float32)"
    raise BadMerge(
        "the merged model does not behave like the adapter",
        place="merge.max_kl, merge.min_top1",
        value=f"KL {found.kl:.4f} (allowed {config.max_kl}), top-1 agreement {found.top1:.1%} (at least {config.min_top1:.1%}), "
        f"greedy match {found.greedy_match:.0%}, on {found.tokens} tokens of {found.prompts} prompts; base {base}",
        remedy=f"merge into {other}, or raise the bounds if that loss is acceptable",
    )


if __name__ == "__main__":
    main(MergeConfig, work)
