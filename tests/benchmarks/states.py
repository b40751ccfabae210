"""A rank that trains for a few steps and tells what it holds, sends and needs: the program that nodes.py starts.

Bytes are those of all tensors alive between backward and step, when parameters, gradients and the optimizer's states are
all there and activations are gone.
"""

import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import deepspeed
import psutil
import torch

from tasks.training.presence import Telling
from tasks.training.rank import RankJob, train

WARM = 2  # steps until the optimizer has its states and buffers are made


def main(path: str) -> None:
    """Train what the job says, and leave states-RANK.json beside it."""
    job = RankJob.model_validate_json(Path(path).read_bytes())
    quiet(Path(job.scratch) / "log")
    began: list[float] = []
    held: list[int] = []
    sent: list[int] = []
    parameters: list[int] = []
    step = deepspeed.DeepSpeedEngine.step

    def counted(engine: Any, *given: Any, **named: Any) -> Any:
        began.append(time.perf_counter())
        sent.append(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)
        if not parameters:
            parameters.append(sum(getattr(one, "ds_numel", one.numel()) for one in engine.module.parameters()))
        if len(began) > WARM:
            held.append(_bytes(engine))
        return step(engine, *given, **named)

    deepspeed.DeepSpeedEngine.step = counted
    train(job, Telling(Path(job.scratch)))
    each = [later - earlier for earlier, later in zip(began[WARM:], began[WARM + 1 :], strict=False)]
    told = {
        "parameters": parameters[0],
        "held": statistics.median(held),
        "seconds": statistics.median(each),
        "sent": (sent[-1] - sent[WARM]) / (len(sent) - 1 - WARM),
    }
    (Path(job.scratch) / f"states-{os.environ['RANK']}.json").write_text(json.dumps(told))


def quiet(log: Path) -> None:
    """What this process and its libraries say goes into a file: the figures alone are the benchmark's output."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())


def _bytes(engine: Any) -> int:
    """Of all tensors of this process, each storage once."""
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    found += [one.grad for one in engine.module.parameters() if one.grad is not None]
    storages = {storage.data_ptr(): storage.nbytes() for storage in map(torch.Tensor.untyped_storage, found)}
    return sum(storages.values())


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
