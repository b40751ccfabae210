"""P9: how long training waits for a checkpoint, beside plain copies of the same tensors in the same run.

    python -m tests.benchmarks.checkpoints

All weights of a model of 118 million parameters, about the smallest that anybody trains, ZeRO-2 on one rank. The ratio is of CPU-seconds of the thread that trains.
Every other step is saved, so steps with a save and steps without one lie side by side; what a save costs of the run is its
stall and the time by which the step after it is longer, because on a CPU the writing takes cores from training.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.training import loading, rank
from tasks.training.behind import Behind
from tasks.training.blame import Blame
from tasks.training.config import TrainConfig
from tasks.training.places import Places
from tasks.training.trainer import WeightedTrainer
from tests import tiny
from tests.benchmarks.figures import figure, note
from tests.unit.tasks.training.prepared import Row, dataset

STEPS, TOKENS, BATCH = 12, 64, 2
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


class Timed(WeightedTrainer):
    """Notes the CPU-seconds that training itself spends on a checkpoint."""

    spent: list[float]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.thread_time()
        super()._save_checkpoint(model, trial)
        self.spent.append(time.thread_time() - began)


class Measured(TrainerCallback):  # type: ignore[misc]
    """Saves after every second step, when the last one is on disk, and copies the same tensors for comparison."""

    def __init__(self, behind: Behind, scratch: Path) -> None:
        self.behind, self.scratch = behind, scratch
        self.stalls: list[float] = []
        self.spent: list[float] = []
        self.copies: list[float] = []
        self.steps: dict[bool, list[float]] = {True: [], False: []}
        self._saved = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
        if state.global_step > 3:  # the first ones warm up, and the first save makes the buffers
            self.steps[self._saved].append(time.perf_counter() - self._began)
        self.behind.drain()
        for folder in (self.scratch / "checkpoints").glob("checkpoint-*"):
            shutil.rmtree(folder)
        self._saved = control.should_save = state.global_step % 2 == 0
        if self._saved and state.global_step > 2:
            self.copies.append(_copying([buffer for some in self.behind._buffers.values() for buffer in some]))


def main() -> None:
    """Train a little, and print P9."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="luthier-checkpoints-") as root:
        os.environ |= ALONE | {"MASTER_PORT": "29611", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
        measured, size = _train(Path(root))
    saves = [measured.stalls[1:], measured.spent[1:], measured.copies]
    stall, spent, copy = (statistics.median(some) for some in saves)
    plain, after = statistics.median(measured.steps[False]), statistics.median(measured.steps[True])
    every = TrainConfig.model_fields["save_steps"].default
    note(f"{size / 1e6:.0f} MB; CPU-seconds of saving {measured.spent[1:]}, of copying {measured.copies}")
    note(f"seconds: stall {stall:.3f}, a step {plain:.2f}, the one after a save {after:.2f}")
    n = len(measured.copies)
    figure("P9.stall_ratio", spent / copy, target=1.2, better="lower", unit="x memcpy", n=n)
    share = (stall + max(0.0, after - plain)) / (every * plain)
    figure("P9.share", share, target=0.01, better="lower", unit=f"of a run that saves every {every} steps", n=n)


def _train(root: Path) -> tuple[Measured, int]:
    scratch = root / "scratch"
    scratch.mkdir()
    weights = tiny.model(root / "model", vocab_size=49152, hidden_size=576, layers=30)
    rows: list[Row] = [([3 + at % 50] * TOKENS, [0.0] + [1.0] * (TOKENS - 1)) for at in range(2 * BATCH)]
    index, shard = dataset(root / "data", rows, [[at] for at in range(len(rows))], [[0]])
    recipe = {"tuning": {"method": "full"}, "bf16": False, "max_steps": STEPS, "save_steps": STEPS + 1}
    config = TrainConfig.model_validate(recipe | {"train_batch_size": BATCH, "deepspeed": "zero2"})
    job = rank.RankJob(
        config=config,
        weights=str(weights),
        weights_sha256="",
        dataset=str(index),
        shards=[str(shard)],
        out=str(root / "out"),
        scratch=str(scratch),
    )
    train, validation = rank._sequences(job)
    arguments, run = rank._arguments(job, len(train), use_cpu=True)
    behind = Behind(scratch, 0, 1)
    trainer = Timed(
        model=loading.load(config, weights, run.device),
        args=arguments,
        train=train,
        validation=validation,
        shape=run.shape,
        blame=Blame(train, Places(index, [shard]), config.seed, run.shape, 0),
        behind=behind,
        describe=lambda _: None,
    )
    measured = Measured(behind, scratch)
    trainer.spent = measured.spent
    trainer.add_callback(measured)
    trainer.train()
    behind.drain()
    measured.stalls += [
        json.loads(mark.read_bytes())["stall_s"] for mark in sorted(scratch.glob("ready-*-0"), key=_step)
    ]
    torch.distributed.destroy_process_group()
    return measured, sum(buffer.nbytes for some in behind._buffers.values() for buffer in some)


def _step(mark: Path) -> int:
    return int(mark.name.split("-")[1])


def _copying(buffers: list[torch.Tensor]) -> float:
    """CPU-seconds that plain copies into memory that was used before take."""
    twins = [torch.zeros_like(buffer) for buffer in buffers]
    began = time.thread_time()
    for twin, buffer in zip(twins, buffers, strict=True):
        twin.copy_(buffer)
    return time.thread_time() - began


if __name__ == "__main__":
    main()
