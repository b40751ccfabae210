"""What a LoRA adds to each weight, read from peft's files; everything else an adapter may be is refused by name."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key

from infra.errors import BadMerge
from infra.models import tensors
from infra.models.tensors import Tensor

PREFIX = "base_model.model."
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
_WHAT = "the adapter is of a kind that cannot be merged"


@dataclass(frozen=True)
class Delta:
    """scaling · B @ A for one weight."""

    a: Tensor
    b: Tensor
    scaling: float

    def add_to(self, weight: torch.Tensor) -> torch.Tensor:
        """The sum in float32, which is where peft's merge_and_unload on a float32 base does it too."""
        product = self.b.read().float() @ self.a.read().float()
        return weight.float().add_(product.mul_(self.scaling))


def read(folder: Path, targets: Mapping[str, Tensor]) -> dict[str, Delta]:
    """What is added, by name of the weight; BadMerge where the adapter and the base's tensors do not fit together."""
    config = json.loads((folder / "adapter_config.json").read_bytes())
    _refuse_others(config)
    halves: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors.open_file(folder / "adapter_model.safetensors"):
        module, _, half = tensor.name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if half not in ("lora_A", "lora_B"):
            raise BadMerge(
                _WHAT, place="adapter_model.safetensors", value=tensor.name, remedy="train plain LoRA matrices"
            )
        halves.setdefault(module, {})[half] = tensor
    if not halves:
        raise BadMerge("the adapter is empty", place="adapter_model.safetensors", remedy="check train.target_modules")
    return {f"{module}.weight": _delta(module, pair, config, targets) for module, pair in sorted(halves.items())}


def _refuse_others(config: dict[str, Any]) -> None:
    found = {
        "peft_type": config.get("peft_type") != "LORA",
        "use_dora": config.get("use_dora"),
        "bias": config.get("bias", "none") != "none",
        "lora_bias": config.get("lora_bias"),
        "modules_to_save": config.get("modules_to_save"),
        "fan_in_fan_out": config.get("fan_in_fan_out"),
        "trainable_token_indices": config.get("trainable_token_indices"),
        "target_parameters": config.get("target_parameters"),
        "layer_replication": config.get("layer_replication"),
        "use_qalora": config.get("use_qalora"),
        "alora_invocation_tokens": config.get("alora_invocation_tokens"),
        "init_lora_weights": config.get("init_lora_weights", True) not in _PLAIN_STARTS,
    }
    for name, other in found.items():
        if other:
            raise BadMerge(
                _WHAT,
                place=f"adapter_config.json: {name}",
                value=config.get(name),
                remedy="train with method: lora or qlora and leave this option at its default",
            )


def _delta(module: str, pair: dict[str, Tensor], config: dict[str, Any], targets: Mapping[str, Tensor]) -> Delta:
    target = targets.get(f"{module}.weight")
    if target is None:
        raise BadMerge(
            "the adapter changes a weight that the base does not store under this name",
            place=f"{module}.weight",
            remedy="leave tied or fused layers (lm_head of a model with tied embeddings, experts) out of train.target_modules",
        )
    if set(pair) != {"lora_A", "lora_B"}:
        raise BadMerge("half of a LoRA is missing", place=module, value=", ".join(pair), remedy="train again")
    a, b = pair["lora_A"], pair["lora_B"]
    if (b.shape[0], a.shape[1]) != target.shape or a.shape[0] != b.shape[1]:
        raise BadMerge(
            "the adapter does not fit its base",
            place=module,
            value=f"B {b.shape} @ A {a.shape} onto {target.shape}",
            remedy="merge with the base that it was trained on",
        )
    return Delta(a, b, _scaling(module, a.shape[0], config))


def _scaling(module: str, rank: int, config: dict[str, Any]) -> float:
    """lora_alpha / r, or / √r for rsLoRA (arXiv 2312.03732), with peft's per-module patterns."""
    patterns = config.get("alpha_pattern") or {}
    alpha = float(patterns.get(get_pattern_key(patterns.keys(), module), config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
