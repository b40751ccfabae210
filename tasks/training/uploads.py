"""Complete checkpoints on their way from this node's disk to the store, beside all else that the worker does."""

import json
import logging
import os
import shutil
import threading
from pathlib import Path

from infra.launch.step import Spec
from infra.launch.work import Work, commit
from infra.storage import trajectory
from tasks.training.checkpoints import Checkpoints
from tasks.training.config import TrainConfig

log = logging.getLogger(__name__)

POLL_S = 0.3
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "training.json")


class Uploads:
    """Stores what the ranks have written, in a thread that waits for nothing else that the worker talks to.

    One at a time: ranks skip a save while a checkpoint still lies there.
    """

    def __init__(self, job: Work[TrainConfig], checkpoints: Checkpoints) -> None:
        self._job, self._checkpoints = job, checkpoints
        self._over = threading.Event()
        self._error: Exception | None = None
        self.committed = 0
        self.stall_s = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True, name="upload")
        self._thread.start()

    def check(self) -> None:
        """Raise what kept a checkpoint from the store."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until everything that is complete is stored; raises what kept it from there."""
        self._over.set()
        self._thread.join()
        self.check()

    def finish_if_possible(self) -> None:
        """The same where something else has gone wrong already, which is what will be told."""
        if self._checkpoints.share is not None:
            self._checkpoints.share.hurry()
        try:
            self.finish()
        except Exception as error:
            log.warning("the last checkpoint was not stored: %s", error)

    def figures(self) -> dict[str, int | float]:
        """What saving came to, for the summary."""
        skipped = len(list(self._job.scratch.glob("skipped-*")))
        return {
            "checkpoints": self.committed,
            "checkpoints_skipped": skipped,
            "checkpoint_stall_s": round(self.stall_s, 3),
        }

    def _watch(self) -> None:
        try:
            while not self._over.wait(POLL_S):
                self._round()
            self._round()
        except Exception as error:
            self._error = error

    def _round(self) -> None:
        complete = self._complete()
        # Several nodes store each one, as they see at different times that an older one is complete.
        passed_over = complete[:-1] if self._checkpoints.share is None else []
        for step in passed_over:
            self._remove(step)
        for step in complete[len(passed_over) :]:
            self._store(step)

    def _complete(self) -> list[int]:
        """The steps of which every rank of this node has written its part."""
        marks = [path.name.split("-")[1:] for path in self._job.scratch.glob("ready-*-*")]
        share = self._checkpoints.share
        ranks = self._checkpoints.shape.world_size if share is None else len(share.ranks)
        steps = {int(step) for step, _ in marks}
        return sorted(step for step in steps if sum(int(of) == step for of, _ in marks) == ranks)

    def _store(self, step: int) -> None:
        folder = self._job.scratch / "checkpoints" / f"checkpoint-{step}"
        if not self._job.place.first:
            self._checkpoints.save_part(folder, step)
            self._remove(step)
            return
        stored = self._checkpoints.save(folder, step)
        if self._job.config.tuning.adapter:
            self._keep_adapter(folder, step, stored.eval_loss)
        log.info("checkpoint of step %d committed", step)
        self.committed += 1
        self._remove(step)

    def _keep_adapter(self, folder: Path, step: int, eval_loss: float | None) -> None:
        spec, store = self._job.spec, self._job.platform.store
        room = self._job.scratch / f"adapter-{step}"
        room.mkdir()
        for name in ADAPTER:
            os.link(folder / name, room / name)
        entry = Spec(
            stage=trajectory.STAGE,
            version=1,
            key=trajectory.key(spec.key, step),
            attempt=spec.attempt,
            config={"training": spec.key, "step": step},
            inputs=spec.inputs,
        )
        receipt = commit(self._job.platform, entry, room, {"step": step, "eval_loss": eval_loss})
        trajectory.note(store, spec.key, step, receipt)
        shutil.rmtree(room)

    def _remove(self, step: int) -> None:
        """The marks first: without its marks a checkpoint is not complete, and without its folder the next may come."""
        marks = list(self._job.scratch.glob(f"ready-{step}-*"))
        self.stall_s += max(json.loads(mark.read_bytes())["stall_s"] for mark in marks)
        for mark in marks:
            mark.unlink()
        shutil.rmtree(self._job.scratch / "checkpoints" / f"checkpoint-{step}")
