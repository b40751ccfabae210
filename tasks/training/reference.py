"""What the model says of judged answers before it is trained: one number a text, made once for all trainings on them.

Preference objectives hold the model to where it began. So its log-probabilities are kept, and no second model.
"""

import subprocess
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from infra.errors import BadModel, Unreachable
from infra.frozen import canonical
from infra.launch.lifeline import end_descendants
from infra.launch.work import Summary, Work, main
from tasks.training import ranks
from tasks.training.places import Places
from tasks.training.reference_config import ReferenceConfig

POLL_S = 0.3
SIDES = ("train", "validation")
SHOWN = 6  # texts whose rows a message names


def work(job: Work[ReferenceConfig]) -> Summary:
    """Fill train.npy and validation.npy: float32 [texts, 1], or [texts, 2] where each text has a stranger."""
    world = job.config.num_processes or ranks.devices()
    shards = job.fetch_parts("dataset")
    told = {
        "config": job.config.model_dump(mode="json"),
        "weights": str(job.inputs["weights"]),
        "dataset": str(job.inputs["dataset"]),
        "shards": [str(folder) for folder in shards],
        "scratch": str(job.scratch),
    }
    path = job.scratch / "rank.json"
    path.write_bytes(canonical(told))
    began = time.monotonic()
    kills = ranks.kernel_kills()
    running = ranks.start("tasks.training.reference_rank", path, job.scratch, world)
    try:
        _follow(job, running, world)
        if running.returncode != 0:
            raise ranks.failure(job.scratch, running.returncode, kills)
    except BaseException:
        end_descendants()
        raise
    texts = 0
    for side in SIDES:
        found = sum(np.load(job.scratch / f"{side}-{rank}.npy") for rank in range(world))
        _require_numbers(Places(job.inputs["dataset"], shards), job.inputs["dataset"] / side, np.asarray(found))
        np.save(job.out / f"{side}.npy", found)
        texts += found.size
    return {"texts": texts, "seconds": round(time.monotonic() - began, 1), "num_processes": world}


def _require_numbers(places: Places, side: Path, found: npt.NDArray[np.float32]) -> None:
    """BadModel with the rows of texts that have no probability, [texts, 1 or 2]."""
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if not len(bad):
        return
    pieces = np.load(side / "pieces.npy", mmap_mode="r")
    rows = dict.fromkeys(places.of(int(pieces[at]["shard"]), int(pieces[at]["begin"])) for at in bad[:SHOWN].tolist())
    raise BadModel(
        "the base gives an answer a probability that is no number",
        place="base.model_name_or_path",
        value=f"{len(bad)} of {len(found)} texts of {side.name}: {', '.join(rows)}",
        remedy="look at these rows, or check its weights where it is all of them; with fp16 try bf16: true",
    )


def _follow(job: Work[ReferenceConfig], running: "subprocess.Popen[bytes]", world: int) -> None:
    """Pass on how far the ranks are until they end; Unreachable where none of them goes on for `ddp_timeout` seconds."""
    seen, moved, began = 0, time.monotonic(), 0.0
    job.beat("reference: loading the model")
    while True:
        status = running.poll()
        done, total = map(sum, zip(*(_progress(job.scratch, rank) for rank in range(world)), strict=True))
        if done != seen:
            began = began or time.monotonic()
            seen, moved = done, time.monotonic()
            job.beat("reference", done, total, (moved - began) * (total - done) / done)
        if status is not None:
            return
        if time.monotonic() - moved > job.config.ddp_timeout:
            raise Unreachable(
                f"the reference stood still for {job.config.ddp_timeout} s",
                place="train.ddp_timeout",
                remedy="run it again; raise ddp_timeout for a slower machine",
            )
        time.sleep(POLL_S)


def _progress(scratch: Path, rank: int) -> tuple[int, int]:
    path = scratch / f"progress-{rank}"
    done, _, total = path.read_text().partition(" ") if path.exists() else ("0", " ", "0")
    return int(done), int(total)


if __name__ == "__main__":
    main(ReferenceConfig, work)
