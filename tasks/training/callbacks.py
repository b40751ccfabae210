"""What a rank tells its worker while it trains: figures in a journal."""

import json
import math
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

from tasks.training.presence import TRAINING, VALIDATING, Telling


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
        if state.is_world_process_zero and ("loss" in logs or "eval_loss" in logs):
            line = {"step": state.global_step, "steps": state.max_steps, **self._figures(logs, state)}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _figures(self, logs: dict[str, float], state: Any) -> dict[str, float]:
        if "loss" not in logs:
            return {name: value for name, value in logs.items() if name.startswith("eval_")}
        now = time.monotonic()
        tokens = self.trainer.tokens_seen - self.tokens_before
        speed = tokens / (now - self.last)
        done = state.global_step - self.first_step
        self.last, self.tokens_before = now, self.trainer.tokens_seen
        return {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            **{name: value for name, value in logs.items() if name == "kl" or name.startswith("rewards/")},
            "tokens_per_s": speed,
            "memory_gb": _memory_gb(self.device),
            "mfu": speed * self.flops_per_token / (self.ceiling * self.trainer.args.world_size),
            "eta_s": (now - self.began) / done * (state.max_steps - state.global_step),
        }


class Moving(TrainerCallback):  # type: ignore[misc]
    """Tells the worker of every micro-batch, so that a rank that stands still is found."""

    def __init__(self, telling: Telling) -> None:
        self.telling, self.part = telling, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.telling.at(TRAINING, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.part = 0
        self.telling.at(TRAINING, state.global_step + 1)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.part += 1
        self.telling.at(TRAINING, state.global_step + 1, self.part)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.part += 1
        self.telling.at(VALIDATING, state.global_step, self.part)


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
