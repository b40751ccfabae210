"""What torch can use on this machine, as one line of JSON: `python -m infra.models.devices`.

It has the ranks sum a number as training does (NCCL between GPUs, gloo without), because a machine on which
they do not hear each other shows that only after the model was loaded.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta

import torch
from torch import distributed
from torch import multiprocessing as mp

DEADLINE = timedelta(seconds=60)
LEAST_FREE = 0.1  # of a GPU's memory


def look() -> dict[str, object]:
    """GPUs by name, those that are nearly full, and the problem that ranks have with each other, if any."""
    count = torch.cuda.device_count()
    ranks, backend = max(count, 2), "nccl" if count > 1 else "gloo"
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "cards": _cards(),
        "gpus": [_name(index) for index in range(count)],
        "full": [_name(index) for index in range(count) if _free(index) < LEAST_FREE],
        "ranks": ranks,
        "backend": backend,
        "problem": _problem(ranks, backend),
    }


def _cards() -> int:
    """GPUs that the driver knows, whatever torch can do with them."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _name(index: int) -> str:
    about = torch.cuda.get_device_properties(index)
    return f"{about.name} ({about.total_memory / 2**30:.0f} GiB)"


def _free(index: int) -> float:
    free, total = torch.cuda.mem_get_info(index)
    return float(free / total)


def _problem(ranks: int, backend: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            mp.spawn(_sum, (ranks, backend, f"file://{folder}/meet"), nprocs=ranks)
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            return str(error).strip().splitlines()[-1]
    return ""


def _sum(rank: int, ranks: int, backend: str, meet: str) -> None:
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    distributed.init_process_group(backend, init_method=meet, rank=rank, world_size=ranks, timeout=DEADLINE)
    mine = torch.ones(1024, device=device)
    distributed.all_reduce(mine)
    if not torch.equal(mine.cpu(), torch.full((1024,), float(ranks))):
        raise RuntimeError(f"rank {rank}: the sum is wrong")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    print(json.dumps(look()))  # noqa: T201 - this line is what it is run for
    sys.stdout.flush()
    os._exit(0)  # gloo's destructors now and then abort a process that has done its work
