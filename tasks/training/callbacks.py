"""What a rank tells its worker while it trains: figures in a journal, and which checkpoints are complete."""

import json
import math
import time
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from transformers import TrainerCallback

from infra.errors import BadTraining


class Journal(TrainerCallback):  # type: ignore[misc]
    """One JSON line a logged step, by rank 0: loss, learning rate, gradient norm, tokens/s, memory, MFU, ETA.

    MFU is model FLOPs (recomputation not counted) over what this device does in a plain matrix product of the same
    dtype, measured at the start of the run; so it needs no table of devices, and is the same figure on a CPU.
    """

    def __init__(self, trainer: Any, path: Path, matmuls: tuple[int, int], device: torch.device) -> None:
        self.trainer, self.path, self.device = trainer, path, device
        every, trained = matmuls
        # Forward and the gradient of the inputs for every weight, the gradient of the weight where it is trained.
        self.flops_per_token = 2 * (2 * every + trained)
        self.ceiling = matmul_ceiling(device, next(trainer.model.parameters()).dtype)
        self.began = self.last = time.monotonic()
        self.first_step = 0
        self.tokens_before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step
        self.began = self.last = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        logs = dict(logs or {})
        for name in ("loss", "grad_norm"):
            value = logs.get(name)
            if value is not None and not math.isfinite(value):
                raise BadTraining(
                    f"{name} is not a number",
                    place=f"step {state.global_step}",
                    value=value,
                    remedy="lower train.learning_rate, raise warmup_steps, or look at the rows of this step",
                )
        if state.is_world_process_zero and ("loss" in logs or "eval_loss" in logs):
            line = {"step": state.global_step, "steps": state.max_steps, **self._figures(logs, state)}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _figures(self, logs: dict[str, float], state: Any) -> dict[str, float]:
        if "loss" not in logs:
            return {"eval_loss": logs["eval_loss"]}
        now = time.monotonic()
        tokens = self.trainer.tokens_seen - self.tokens_before
        speed = tokens / (now - self.last)
        done = state.global_step - self.first_step
        self.last, self.tokens_before = now, self.trainer.tokens_seen
        return {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            "tokens_per_s": speed,
            "memory_gb": _memory_gb(self.device),
            "mfu": speed * self.flops_per_token / (self.ceiling * self.trainer.args.world_size),
            "eta_s": (now - self.began) / done * (state.max_steps - state.global_step),
        }


class Ready(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as complete once every rank has written its part of it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        dist.barrier()
        if state.is_world_process_zero:
            (self.scratch / f"ready-{state.global_step}").touch()


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few square matrix products: what this device can do when nothing else is in the way."""
    dtype = dtype if dtype.is_floating_point else torch.bfloat16
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = math.inf
    for _ in range(6):
        began = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9
