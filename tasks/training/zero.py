"""A preset's name → the dict that DeepSpeed reads (Rajbhandari et al. 2020: what ZeRO shards at each stage)."""

import copy
from typing import Any, Literal

from pydantic import JsonValue

Preset = Literal["none", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"]

_COMMON = {"overlap_comm": True, "contiguous_gradients": True, "reduce_bucket_size": 50_000_000}
# Without gathering ZeRO-3 saves empty weights.
_ZERO3 = {"stage": 3, **_COMMON, "stage3_gather_16bit_weights_on_model_save": True}
_ON_HOST = {"device": "cpu", "pin_memory": True}

STAGES: dict[str, dict[str, Any]] = {
    "zero1": {"stage": 1, **_COMMON},
    "zero2": {"stage": 2, **_COMMON},
    "zero2_offload": {"stage": 2, **_COMMON, "offload_optimizer": _ON_HOST},  # Ren et al. 2021: ZeRO-Offload
    "zero3": _ZERO3,
    "zero3_offload": {**_ZERO3, "offload_optimizer": _ON_HOST, "offload_param": _ON_HOST},
}


def stage(deepspeed: "Preset | dict[str, JsonValue]") -> int:
    """The ZeRO stage (0 to 3) of a preset or of a DeepSpeed JSON; 0 also without DeepSpeed."""
    if isinstance(deepspeed, dict):
        zero = deepspeed.get("zero_optimization")
        number = zero.get("stage", 0) if isinstance(zero, dict) else 0
        return int(str(number))
    return 0 if deepspeed == "none" else int(STAGES[deepspeed]["stage"])


def engine_config(
    deepspeed: "Preset | dict[str, JsonValue]",
    *,
    micro_batch: int,
    accumulation: int,
    world_size: int,
    max_grad_norm: float,
    precision: Literal["bf16", "fp16", "fp32"],
    universal: bool = False,
) -> dict[str, Any] | None:
    """The whole DeepSpeed config, or None without DeepSpeed; batch sizes are sequences. `universal`: it resumes from that.

    A JSON of the user's own keeps every key it has; only the batch sizes, which the recipe decides, are set here.
    """
    if deepspeed == "none":
        return None
    batches = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * world_size,
    }
    resumes: dict[str, Any] = {"checkpoint": {"load_universal": True}} if universal else {}
    if isinstance(deepspeed, dict):
        return dict(deepspeed) | batches | resumes
    return (
        batches
        | resumes
        | {
            "zero_optimization": copy.deepcopy(STAGES[deepspeed]),
            "gradient_clipping": max_grad_norm,
            "bf16": {"enabled": precision == "bf16"},
            "fp16": {"enabled": precision == "fp16"},
            # AdamW comes from the Trainer, so that every engine runs the same optimizer.
            "zero_allow_untested_optimizer": True,
            # DeepSpeed's own CPU Adam would have to be compiled on the machine that trains.
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 2**31 - 1,
        }
    )
