"""Before weights are loaded, the ranks of several nodes add something up: do all hear each other, is the sum right, how fast?"""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from infra.errors import Lost
from tasks.training.presence import ADDED, Added, whole

NUMBERS = 2**22  # 16 MiB
FEW = 2**10
UNLIKE = 4  # the numbers are 0 to 3 times the rank's, so that their sum is exact in float32 for 3,000 ranks


def add_up(device: torch.device, scratch: Path) -> None:
    """All ranks at once; Lost where a sum is wrong. One that gets no answer stays here until its worker ends it."""
    backend = str(dist.get_backend())
    _sum(FEW, device)  # opens the connections
    seconds = _sum(NUMBERS, device)
    if backend != "gloo":
        # On when to save and stop, ranks agree over gloo.
        host = dist.new_group(backend="gloo")
        _sum(FEW, torch.device("cpu"), host)
        dist.destroy_process_group(host)
    if dist.get_rank() == 0:
        nodes = int(os.environ["GROUP_WORLD_SIZE"])
        told = Added(backend=backend, ranks=dist.get_world_size(), nodes=nodes, size=4 * NUMBERS, seconds=seconds)
        whole(scratch / ADDED, told)


def _sum(count: int, device: torch.device, group: "dist.ProcessGroup | None" = None) -> float:
    """The seconds that it took."""
    rank, world = dist.get_rank(), dist.get_world_size()
    ones = torch.arange(count, dtype=torch.float32, device=device) % UNLIKE
    total = ones * (rank + 1)
    began = time.perf_counter()
    dist.all_reduce(total, group=group)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    wrong = int((total != ones * (world * (world + 1) // 2)).sum())
    if wrong:
        raise Lost(
            f"rank {rank} on {os.uname().nodename} got a wrong sum of what all ranks had",
            place=str(device),
            value=f"{wrong} of {count} numbers are wrong",
            remedy="suspect that device, its memory or its network; leave the node out and run again",
        )
    return seconds
