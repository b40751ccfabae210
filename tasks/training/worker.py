"""One process a node: fetch inputs and checkpoint, start torchrun, pass on figures, upload checkpoints, store."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import Crashed, ErrorReport, OutOfMemory, Unreachable, revive
from infra.frozen import canonical
from infra.launch.lifeline import end_descendants
from infra.launch.work import Summary, Work, main
from infra.tracking.runs import Curve
from tasks.training import zero
from tasks.training.checkpoints import Checkpoints, Shape
from tasks.training.config import TrainConfig
from tasks.training.pictures import draw_loss
from tasks.training.scan import scan

log = logging.getLogger(__name__)

POLL_S = 0.3


def work(job: Work[TrainConfig]) -> Summary:
    """Train to the end, from the newest checkpoint that any attempt at this input key has committed."""
    world = job.config.num_processes or _devices()
    checkpoints = Checkpoints(job.platform.store, job.spec.key, job.spec.attempt, _shape(job.config, world))
    (job.scratch / "checkpoints").mkdir()
    resume = checkpoints.newest(job.scratch / "checkpoints")
    log.info("starting from %s", resume.name if resume else "the base model")
    curve = Curve(job.platform.tracking_uri, job.spec.key, _params(job))
    ranks = _start(job, world, resume)
    lines: list[dict[str, Any]] = []
    try:
        _follow(job, ranks, curve, checkpoints, lines)
    except BaseException:
        end_descendants()
        curve.close("FAILED")
        raise
    curve.close("FINISHED")
    scan(job.out)
    trained = [line for line in lines if "loss" in line]
    history = json.loads((job.out / "log_history.json").read_bytes())
    (job.out / "loss.png").write_bytes(draw_loss(history))
    return _summary(job, trained, lines, curve, world, resume)


def _start(job: Work[TrainConfig], world: int, resume: Path | None) -> subprocess.Popen[bytes]:
    """torchrun on this node. No restarts of its own: with DeepSpeed on gloo they hang; the stage's retry resumes."""
    told = {
        "config": job.config.model_dump(mode="json"),
        "weights": str(job.inputs["weights"]),
        "weights_sha256": job.receipt("weights").content_sha256,
        "dataset": str(job.inputs["dataset"]),
        "shards": [str(folder) for folder in job.fetch_parts("dataset")],
        "out": str(job.out),
        "scratch": str(job.scratch),
        "resume_from": str(resume) if resume else None,
    }
    path = job.scratch / "rank.json"
    path.write_bytes(canonical(told))
    environment = os.environ | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, _cores() // world))),
        "TORCH_EXTENSIONS_DIR": str(job.scratch / "torch_extensions"),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        **(
            {}
            if _gpus()
            else {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}
        ),
    }
    command = [
        *(sys.executable, "-m", "infra.launch.lifeline", "torch.distributed.run"),
        *("--nnodes=1", f"--nproc-per-node={world}", "--max-restarts=0", "--rdzv-backend=c10d"),
        *("--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "--rdzv-conf=is_host=1"),
        *("-m", "tasks.training.rank", str(path)),
    ]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _follow(
    job: Work[TrainConfig],
    ranks: subprocess.Popen[bytes],
    curve: Curve,
    checkpoints: Checkpoints,
    lines: list[dict[str, Any]],
) -> None:
    """Pass on what the ranks write until they end; a step longer than `ddp_timeout` counts as hung."""
    journal = _tail(job.scratch / "journal.jsonl")
    job.beat("loading the model")
    moved = time.monotonic()
    while True:
        status = ranks.poll()
        for line in iter(lambda: next(journal), None):
            lines.append(line)
            moved = time.monotonic()
            _show(job, line)
            curve.log(
                line["step"], {name: value for name, value in line.items() if name not in ("step", "steps", "eta_s")}
            )
        moved = max(moved, _upload(job, checkpoints))
        if status is not None:
            return _ended(job, status)
        if time.monotonic() - moved > job.config.ddp_timeout:
            raise Unreachable(
                f"training stood still for {job.config.ddp_timeout} s: a rank hangs, or a step takes longer",
                place="train.ddp_timeout",
                remedy="the run will be resumed from its newest checkpoint; raise ddp_timeout for slower steps",
            )
        time.sleep(POLL_S)


def _show(job: Work[TrainConfig], line: dict[str, Any]) -> None:
    if "loss" in line:
        figures = {name: line[name] for name in ("loss", "tokens_per_s", "mfu")}
        job.beat("training", line["step"], line["steps"], line["eta_s"], **figures)
    else:
        log.info("step %s: validation loss %.4f", line["step"], line["eval_loss"])


def _upload(job: Work[TrainConfig], checkpoints: Checkpoints) -> float:
    """Store the newest complete checkpoint, if there is one; older complete ones are only removed. When, or 0."""
    ready = sorted(job.scratch.glob("ready-*"), key=lambda path: int(path.name.split("-")[1]))
    for number, mark in enumerate(ready, 1):
        step = int(mark.name.split("-")[1])
        folder = job.scratch / "checkpoints" / f"checkpoint-{step}"
        if number == len(ready):
            checkpoints.save(folder, step)
            log.info("checkpoint of step %d committed", step)
        shutil.rmtree(folder)
        mark.unlink()
    return time.monotonic() if ready else 0.0


def _ended(job: Work[TrainConfig], status: int) -> None:
    """Nothing where the ranks finished; else what they reported, which tells more than torchrun's exit status."""
    if status == 0:
        return
    reports = [ErrorReport.model_validate_json(path.read_bytes()) for path in sorted(job.scratch.glob("error-*.json"))]
    if reports:
        raise revive(reports[0])
    if status in (-9, 137):
        raise OutOfMemory("a rank was killed, most likely by the kernel for memory", value=f"exit status {status}")
    raise Crashed("a rank died", value=f"torchrun ended with {status}", remedy="the log has its last words")


def _tail(path: Path) -> Iterator[dict[str, Any] | None]:
    """Whole JSON lines as they appear, and None whenever there is none for now."""
    place = 0
    while True:
        text = path.read_bytes()[place:] if path.exists() else b""
        whole, newline, _ = text.rpartition(b"\n")
        place += len(whole) + len(newline)
        for line in whole.splitlines():
            yield json.loads(line)
        yield None


def _summary(
    job: Work[TrainConfig],
    trained: list[dict[str, Any]],
    lines: list[dict[str, Any]],
    curve: Curve,
    world: int,
    resume: Path | None,
) -> Summary:
    evaluated = [line["eval_loss"] for line in lines if "eval_loss" in line]
    speeds = sorted(line["tokens_per_s"] for line in trained)
    return {
        "method": job.config.tuning.method,
        "steps": trained[-1]["step"] if trained else 0,
        "loss": trained[-1]["loss"] if trained else None,
        "eval_loss": evaluated[-1] if evaluated else None,
        "tokens_per_s": speeds[len(speeds) // 2] if speeds else None,
        "mfu": sorted(line["mfu"] for line in trained)[len(trained) // 2] if trained else None,
        "num_processes": world,
        "resumed_from": resume.name if resume else None,
        "mlflow_run_id": curve.run_id,
        "mlflow_missed": curve.missed,
    }


def _params(job: Work[TrainConfig]) -> dict[str, str]:
    flat = job.config.material()
    tuning = flat.pop("tuning")
    return {name: str(value) for name, value in (flat | tuning).items() if value not in (None, {})}


def _shape(config: TrainConfig, world: int) -> Shape:
    engine = "none" if config.deepspeed == "none" else "deepspeed"
    return Shape(engine=engine, zero_stage=zero.stage(config.deepspeed), world_size=world)


def _devices() -> int:
    return _gpus() or 1


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main(TrainConfig, work)
