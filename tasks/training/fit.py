"""What fits into memory, learned from launches that did not: fewer sequences at once, the same batch, the same result.

What was learned is remembered beside the jobs of the input key, for the machine that it was learned on.
"""

import logging
from pathlib import Path

import psutil
from pydantic import ValidationError

from infra.errors import Adapted, OutOfMemory
from infra.frozen import Frozen, canonical
from infra.launch.work import Work
from infra.storage import layout
from tasks.training.batches import split
from tasks.training.config import TrainConfig

log = logging.getLogger(__name__)


class Learned(Frozen):
    """The most that is tried on a machine from now on, and why."""

    machine: str
    per_device_train_batch_size: int
    gradient_checkpointing: bool
    reason: str


class Fit:
    """The memory of one input key on this machine."""

    def __init__(self, job: Work[TrainConfig], world: int) -> None:
        self._job, self._world = job, world
        self._machine = f"{world} x {device()}"
        self._at = layout.learned(job.spec.stage, job.spec.key)
        self.learned = self._recall() if job.config.on_oom == "adapt" else None

    def config(self) -> TrainConfig:
        """The recipe's config with what was learned."""
        asked, learned = self._job.config, self.learned
        if learned is None:
            return asked
        most = min(asked.per_device_train_batch_size, learned.per_device_train_batch_size)
        checkpointing = asked.gradient_checkpointing or learned.gradient_checkpointing
        return asked.model_copy(update={"per_device_train_batch_size": most, "gradient_checkpointing": checkpointing})

    def after(self, error: OutOfMemory, config: TrainConfig) -> OutOfMemory:
        """The error to raise: Adapted where the next launch will need less, which is remembered; else the same."""
        less = lighter(config, self._world)
        if less is None:
            return error
        change = difference(config, less, self._world)
        learned = Learned(
            machine=self._machine,
            per_device_train_batch_size=less.per_device_train_batch_size,
            gradient_checkpointing=less.gradient_checkpointing,
            reason=f"{error.what}: {change}",
        )
        self._job.platform.store.objects.put(self._at, canonical(learned.model_dump(mode="json")))
        return Adapted(error.what, place=error.place, value=error.value, remedy=change)

    def _recall(self) -> Learned | None:
        data = self._job.platform.store.objects.get(self._at)
        try:
            learned = Learned.model_validate_json(data) if data else None
        except ValidationError:
            log.warning("%s: not understood, and not used", self._at)
            return None
        return learned if learned and learned.machine == self._machine else None


def lighter(config: TrainConfig, world: int) -> TrainConfig | None:
    """Half as many sequences at once; at one, activations are computed again; None where nothing is left to change.

    The global batch stays, so the result does. None also where the recipe says `on_oom: fail`.
    """
    if config.on_oom == "fail":
        return None
    micro = split(config.train_batch_size, config.per_device_train_batch_size, world).micro
    if micro > 1:
        return config.model_copy(update={"per_device_train_batch_size": micro // 2})
    return None if config.gradient_checkpointing else config.model_copy(update={"gradient_checkpointing": True})


def difference(before: TrainConfig, after: TrainConfig, world: int) -> str:
    """What has changed between two configs of one recipe, for people."""
    if before.gradient_checkpointing != after.gradient_checkpointing:
        return "gradient_checkpointing false → true"
    old, new = (split(config.train_batch_size, config.per_device_train_batch_size, world) for config in (before, after))
    return f"micro-batch {old.micro} → {new.micro}, accumulation {old.accumulation} → {new.accumulation}"


def device() -> str:
    """What sets the limit here: the kind of GPU, else the memory of the machine."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
