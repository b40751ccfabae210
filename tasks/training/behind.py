"""Checkpoints are copied into host memory while the rank waits, and written to disk behind its back."""

import copy
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

log = logging.getLogger(__name__)

Buffers = dict[tuple[torch.Size, torch.dtype], list[torch.Tensor]]
Seen = dict[tuple[Any, ...], torch.Tensor]


class Behind:
    """A rank's writer: one checkpoint at a time, in one thread.

    The buffers stay from one checkpoint to the next: touching fresh memory takes far longer than copying into it.
    """

    def __init__(self, scratch: Path, rank: int, ranks_here: int) -> None:
        self._scratch, self._rank, self._ranks_here = scratch, rank, ranks_here
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._jobs: list[Future[object]] = []
        self._buffers: Buffers = {}
        self._free: Buffers = {}
        self.open = False
        self.last_s = 0.0

    @contextmanager
    def checkpoint(self, step: int) -> Iterator[None]:
        """What is saved in this block is one checkpoint; its mark appears once all of it is on disk."""
        self.drain()
        self._free = {kind: list(buffers) for kind, buffers in self._buffers.items()}
        began = time.monotonic()
        self.open = True
        try:
            yield
        finally:
            self.open = False
        stall_s = time.monotonic() - began
        self._jobs.append(self._thread.submit(self._mark, step, began, stall_s, tuple(self._jobs)))

    def save(self, state_dict: Any, path: str | Path) -> None:
        """torch.save, of the state as it is now; written at once where memory is short."""
        if self._fits(state_dict):
            taken = self.taken(state_dict)
            self.later(lambda: torch.save(taken, path))
        else:
            log.warning("no room in memory for a copy of %s: training waits while it is written", Path(path).name)
            torch.save(state_dict, path)

    def later(self, write: Callable[[], object]) -> None:
        """Have the thread write something that was taken before."""
        self._jobs.append(self._thread.submit(write))

    def taken(self, state: Any) -> Any:
        """A copy of a state that training changes no more: tensors in host memory, the rest copied deeply."""
        taken = self._take(state, {})
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return taken

    def busy(self) -> bool:
        """Whether a checkpoint is still being written, or still lies there for the worker; raises what kept one from disk."""
        for job in self._jobs:
            if job.done():
                job.result()
        return any(not job.done() for job in self._jobs) or any(self._scratch.glob("checkpoints/checkpoint-*"))

    def drain(self) -> None:
        """Wait until all is on disk; raises what kept it from there."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()

    def _take(self, state: Any, seen: Seen) -> Any:
        if isinstance(state, torch.Tensor):
            return self._copy(state.detach(), seen)
        if isinstance(state, dict):
            made: dict[Any, Any] = OrderedDict() if isinstance(state, OrderedDict) else {}
            made.update((key, self._take(value, seen)) for key, value in state.items())
            return made
        if type(state) in (list, tuple):
            return type(state)(self._take(value, seen) for value in state)
        return copy.deepcopy(state)

    def _copy(self, tensor: torch.Tensor, seen: Seen) -> torch.Tensor:
        same = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and same in seen:  # two names of one tensor stay two names of one
            return seen[same]
        kind = (tensor.shape, tensor.dtype)
        free = self._free.setdefault(kind, [])
        if free:
            buffer = free.pop()
        else:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers.setdefault(kind, []).append(buffer)
        seen[same] = buffer.copy_(tensor, non_blocking=True)
        return buffer

    def _fits(self, state: Any) -> bool:
        """Whether copies for all ranks of this machine leave half of its free memory; what is there already counts."""
        held = sum(buffer.nbytes for buffers in self._buffers.values() for buffer in buffers)
        need = sum(tensor.nbytes for tensor in _tensors(state))
        return bool(need <= held or need * self._ranks_here < psutil.virtual_memory().available / 2)

    def _mark(self, step: int, began: float, stall_s: float, parts: tuple[Future[object], ...]) -> None:
        for part in parts:
            part.result()
        self.last_s = time.monotonic() - began
        mark = self._scratch / f"ready-{step}-{self._rank}"
        unfinished = mark.with_name(f".{mark.name}")
        unfinished.write_text(json.dumps({"stall_s": stall_s, "write_s": self.last_s}))
        unfinished.replace(mark)


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _tensors(value)
