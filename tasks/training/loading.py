"""The model to train: base weights in the precision of the run, 4-bit where asked, with its adapter."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from infra.errors import BadRecipe
from tasks.training import zero
from tasks.training.config import TrainConfig
from tasks.training.methods import Lora

QUANT_TYPE = "nf4"
DTYPES = {"bf16": ("bfloat16", torch.bfloat16), "fp16": ("float16", torch.float16), "fp32": ("float32", torch.float32)}


def load(config: TrainConfig, weights: Path, device: torch.device) -> Any:
    """The model on its device, its adapter in place, ready for the Trainer."""
    # ZeRO-3 places the weights itself and refuses a map.
    model = base(weights, config.held, config.tuning.load_in_4bit, device if zero.stage(config.deepspeed) < 3 else None)
    if isinstance(config.tuning, Lora):
        model = _with_adapter(model, config.tuning)
        if config.gradient_checkpointing:
            model.enable_input_require_grads()
    return model


def base(weights: Path, dtype: str, load_in_4bit: bool, device: torch.device | None) -> Any:
    """The model that is tuned, in 4 bits on its device where there is one."""
    torch_dtype: torch.dtype = getattr(torch, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        weights,
        dtype=torch_dtype,
        quantization_config=_four_bit(torch_dtype) if load_in_4bit else None,
        device_map={"": device} if load_in_4bit and device is not None else None,
    )
    if load_in_4bit:
        _require_four_bits(model)
    model.config.use_cache = False
    return model


def _four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=QUANT_TYPE,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _require_four_bits(model: Any) -> None:
    """BadRecipe where experts stay as they were: they are no linear layers, and bitsandbytes passes them over without a
    word (bitsandbytes issue 1849), so that a mixture of experts would not fit where its size in 4 bits says it does."""
    left = [name for name, weight in model.named_parameters() if weight.ndim > 2 and weight.is_floating_point()]
    if left:
        raise BadRecipe(
            "this model's experts cannot be held in 4 bits",
            place="train.tuning.method",
            value=f"{len(left)} weights such as {left[0]}",
            remedy="use method: lora, with deepspeed: zero3 where the model does not fit on one device",
        )


def _with_adapter(model: Any, tuning: Lora) -> Any:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - full fine-tuning needs no peft

    config = LoraConfig(
        r=tuning.lora_r,
        lora_alpha=tuning.lora_alpha,
        lora_dropout=tuning.lora_dropout,
        target_modules=tuning.target_modules,
        use_rslora=tuning.use_rslora,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise BadRecipe(
            "the adapter does not fit this model",
            place="train.tuning.target_modules",
            value=tuning.target_modules,
            remedy=str(error)[:300],
        ) from error
    inside = getattr(adapted.peft_config["default"], "target_parameters", None)
    if inside:
        # peft turns all-linear into this for a mixture of experts, and the merge could not add it to the base.
        raise BadRecipe(
            "an adapter inside the experts of this model could not be merged",
            place="train.tuning.target_modules",
            value=f"{tuning.target_modules}, which means {', '.join(sorted(inside))}",
            remedy="name the attention's layers: target_modules: [q_proj, k_proj, v_proj, o_proj]",
        )
    return adapted


def matmul_sizes(model: Any) -> tuple[int, int]:
    """Weights that take part in matrix products a token: (all, trained ones). Embedding look-ups do none."""
    every = trained = 0
    for module in model.modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        size = module.in_features * module.out_features
        every += size
        trained += size if module.weight.requires_grad else 0
    return every, trained
