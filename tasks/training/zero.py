"""A preset's name → the dict that DeepSpeed reads (Rajbhandari et al. 2020: what ZeRO shards at each stage)."""

from typing import Any, Literal

from pydantic import JsonValue

Preset = Literal["none", "zero2", "zero3"]

STAGES: dict[str, dict[str, Any]] = {
    "zero2": {"stage": 2, "overlap_comm": True, "contiguous_gradients": True, "reduce_bucket_size": 50_000_000},
    "zero3": {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": 50_000_000,
        # Without it ZeRO-3 saves empty weights.
        "stage3_gather_16bit_weights_on_model_save": True,
    },
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
) -> dict[str, Any] | None:
    """The whole DeepSpeed config, or None without DeepSpeed; batch sizes are sequences.

    A JSON of the user's own keeps every key it has; only the batch sizes, which the recipe decides, are set here.
    """
    if deepspeed == "none":
        return None
    batches = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * world_size,
    }
    if isinstance(deepspeed, dict):
        return dict(deepspeed) | batches
    return batches | {
        "zero_optimization": dict(STAGES[deepspeed]),
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": precision == "fp16"},
        # AdamW comes from the Trainer, so that every engine runs the same optimizer.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31 - 1,
    }
