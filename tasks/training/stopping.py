"""When the ranks save and when they stop: a signal to any of them is heard by all, at the end of the same step."""

import signal
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from infra.launch.lifeline import GRACE_S
from tasks.training.behind import Behind
from tasks.training.checkpoints import STOPPED


class Agreement(TrainerCallback):  # type: ignore[misc]
    """After SIGTERM all ranks save and stop together; a save that comes while the last one is under way is skipped.

    What the ranks know is reduced beside the next step (over gloo, whatever carries the gradients), so all of them
    act on it one step later. They save if that took less than half of the grace the last time; the other half is for
    the upload. Else the last committed checkpoint stands.
    """

    def __init__(self, behind: Behind, scratch: Path) -> None:
        self._behind, self._scratch = behind, scratch
        self._signalled = False
        self._known = torch.zeros(2)
        self._reduced: Any = None
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ranks = dist.new_group(backend="gloo")
        signal.signal(signal.SIGTERM, lambda *_: self._hear())

    def _hear(self) -> None:
        self._signalled = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._told():
            self.stopped = control.should_training_stop = True
            control.should_save = float(self._known[1]) < GRACE_S / 2
        elif control.should_save and self._any(self._behind.busy()):
            control.should_save = False
            if state.is_world_process_zero:
                (self._scratch / f"skipped-{state.global_step}").touch()
        self._known = torch.tensor([float(self._signalled), self._behind.last_s])
        self._reduced = dist.all_reduce(self._known, dist.ReduceOp.MAX, self._ranks, async_op=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._told()
        self._behind.drain()
        if self.stopped and state.is_local_process_zero:  # each node's worker looks for it
            (self._scratch / STOPPED).touch()

    def _told(self) -> bool:
        """Whether any rank had heard the signal a step ago."""
        if self._reduced is None:
            return False
        self._reduced.wait()
        self._reduced = None
        return bool(self._known[0])

    def _any(self, here: bool) -> bool:
        told = torch.tensor([float(here)])
        dist.all_reduce(told, dist.ReduceOp.MAX, self._ranks)
        return bool(told[0])
