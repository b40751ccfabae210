"""What every rank of the reference runs: its share of the sequences through the base, one after the other."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.errors import LuthierError, OutOfMemory
from infra.frozen import Frozen
from infra.launch.lifeline import die_with_parent
from infra.models.nf4 import as_loaded
from tasks.training import loading, ranks, zero
from tasks.training.judged_sequences import JudgedSequences, collate_judged
from tasks.training.judged_trainer import log_probabilities
from tasks.training.rank import prepare_deepspeed
from tasks.training.reference import SIDES
from tasks.training.reference_config import ReferenceConfig
from tasks.training.trainer import OnlySupervised

TELL_S = 1.0


class ReferenceJob(Frozen):
    """What the worker tells its ranks."""

    config: ReferenceConfig
    weights: str
    dataset: str
    shards: list[str]
    scratch: str


def main(path: str) -> None:
    """Ask the model, or leave an error report beside the job and exit with 1."""
    die_with_parent()
    job = ReferenceJob.model_validate_json(Path(path).read_bytes())
    try:
        refer(job, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    except LuthierError as error:
        ranks.report(job.scratch, error)
    except (MemoryError, RuntimeError) as error:
        if not ranks.of_memory(error):
            raise
        ranks.report(
            job.scratch,
            OutOfMemory(
                "a device ran out of memory while the base was asked",
                place="train.deepspeed",
                remedy=f"use zero3, or lower data.max_length ({str(error)[:200]})",
            ),
        )


def refer(job: ReferenceJob, rank: int, world: int) -> None:
    """Write <side>-<rank>.npy: what this rank was asked, and zeros."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    model, keep = _model(job, device, world)
    head = OnlySupervised(model)
    sides = {
        side: JudgedSequences(Path(job.dataset) / side, [Path(shard) for shard in job.shards], None) for side in SIDES
    }
    telling = Telling(Path(job.scratch) / f"progress-{rank}", sum(-(-len(side) // world) for side in sides.values()))
    for name, side in sides.items():
        found = np.zeros(side.shape, np.float32)
        # All ranks take as many forward passes: ZeRO-3 gathers weights in each.
        for first in range(0, len(side), world):
            at = min(first + rank, len(side) - 1)
            said = _said(job.config, model, head, side, at, device)
            if first + rank == at:
                found[side.rows(at)] = said
            telling.one_more()
        np.save(Path(job.scratch) / f"{name}-{rank}.npy", found)
    del keep


def _said(
    config: ReferenceConfig, model: Any, head: OnlySupervised, side: JudgedSequences, at: int, device: torch.device
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The log-probabilities of the texts of a sequence, [texts, 1 or 2]."""
    batch = collate_judged([side[at]])
    # As the Trainer does without an engine: weights in float32, arithmetic in less.
    mixed = config.dtype == "float32" and config.precision != "fp32"
    kind = torch.bfloat16 if config.precision == "bf16" else torch.float16
    columns = []
    for inputs in (batch, batch["strangers"]) if "strangers" in batch else (batch,):
        moved = {name: value.to(device) for name, value in inputs.items() if name != "strangers"}
        with torch.no_grad(), torch.autocast(device.type, kind) if mixed else contextlib.nullcontext():
            columns.append(log_probabilities(model, head, moved).float().cpu().numpy())
    return np.stack(columns, axis=1)


def _model(job: ReferenceJob, device: torch.device, world: int) -> tuple[Any, object]:
    """The base as it is trained on, and what must live as long as it; over all ranks where ZeRO-3 trains it so."""
    config, weights = job.config, Path(job.weights)
    if zero.stage(config.deepspeed) < 3 or config.load_in_4bit:  # in 4 bits every rank holds it whole in any case
        model = loading.base(weights, config.dtype, config.load_in_4bit, device)
        model = model if config.load_in_4bit else model.to(device)
        return as_loaded(model.eval()), None
    import deepspeed  # noqa: PLC0415 - only what is shared over ranks needs it
    from transformers.integrations import HfDeepSpeedConfig  # noqa: PLC0415

    prepare_deepspeed(device.type == "cpu")
    engine = zero.engine_config(
        config.deepspeed,
        micro_batch=1,
        accumulation=1,
        world_size=world,
        max_grad_norm=1.0,
        precision=config.precision,
    )
    told = _settled(engine or {}) | {name: {"enabled": config.precision == name} for name in ("bf16", "fp16")}
    keep = HfDeepSpeedConfig(told)  # from_pretrained shards the weights while this lives
    model = loading.base(weights, config.dtype, False, None)
    initialised, *_ = deepspeed.initialize(model=model, config=told)
    initialised.eval()
    return initialised, (keep, model)


def _settled(engine: dict[str, Any]) -> dict[str, Any]:
    """A DeepSpeed JSON without what only a training has, and without what the Trainer would have put for `auto`."""
    idle = ("optimizer", "scheduler", "offload_optimizer")
    return {
        name: _settled(value) if isinstance(value, dict) else value
        for name, value in engine.items()
        if name not in idle and value != "auto"
    }


class Telling:
    """How far this rank is, in a file for its worker."""

    def __init__(self, path: Path, total: int) -> None:
        self._path, self._total, self._done, self._told = path, total, 0, 0.0

    def one_more(self) -> None:
        """One sequence is done."""
        self._done += 1
        if time.monotonic() - self._told > TELL_S or self._done == self._total:
            self._told = time.monotonic()
            half = self._path.with_suffix(".half")
            half.write_text(f"{self._done} {self._total}")
            half.replace(self._path)


if __name__ == "__main__":
    main(sys.argv[1])
    # As in rank.py: destructors of the communication's threads abort now and then at the exit of a finished process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
