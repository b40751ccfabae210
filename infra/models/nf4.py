"""What a 4-bit base really computes with: NF4 and back, one tensor at a time, as bitsandbytes does it inside a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.integrations import replace_with_bnb_linear
from transformers.quantizers.base import HfQuantizer


def settings(compute_dtype: str) -> dict[str, Any]:
    """The quantisation that `qlora` trains on (Dettmers 2023, arXiv 2305.14314), computing in that dtype."""
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": compute_dtype,
    }


def bits_and_bytes(quantization: Mapping[str, Any]) -> BitsAndBytesConfig:
    """The transformers config of a recorded quantisation (load_in_4bit, bnb_4bit_quant_type …)."""
    return BitsAndBytesConfig(**quantization)


def quantised_weights(folder: Path, quantization: Mapping[str, Any]) -> set[str]:
    """Names of the weights that from_pretrained would hold in 4 bits: linear layers, but not the output embeddings.

    Asks transformers itself, on a model without storage.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    config = bits_and_bytes(quantization)
    spared = HfQuantizer.get_modules_to_not_convert(model, config.llm_int8_skip_modules, model._keep_in_fp32_modules)
    model = replace_with_bnb_linear(
        model, modules_to_not_convert=spared, quantization_config=config, pre_quantized=False
    )
    linear = bitsandbytes.nn.Linear4bit
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, linear)}


def roundtrip(weight: torch.Tensor, quantization: Mapping[str, Any]) -> torch.Tensor:
    """A weight as its 4-bit layer sees it, in the dtype it came in; on the GPU where there is one, as in training."""
    config = bits_and_bytes(quantization)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    packed = bitsandbytes.nn.Params4bit(
        weight,
        requires_grad=False,
        compress_statistics=config.bnb_4bit_use_double_quant,
        quant_type=config.bnb_4bit_quant_type,
        quant_storage=config.bnb_4bit_quant_storage,
    ).to(device)
    return dequantize_4bit(packed.data, packed.quant_state).to(weight.device)


def as_loaded(model: Any) -> Any:
    """The model, its 4-bit layers kept in training mode: in the other, bitsandbytes repacks their weights on the CPU at
    the first forward pass, which a later training step reads as garbage, and then computes more slowly."""
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train()
    return model
