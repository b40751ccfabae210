"""One process a node: fetch inputs and checkpoint, start torchrun, pass on figures, upload checkpoints, store."""

import json
import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import LuthierError, NodeLost, OutOfMemory, Preempted
from infra.frozen import canonical
from infra.launch.leaving import Leaving
from infra.launch.lifeline import end_descendants
from infra.launch.links import Door, Links
from infra.launch.peers import Peers
from infra.launch.work import Summary, Work, main, versions
from infra.storage import trajectory
from infra.tracking.runs import Curve
from tasks.training import zero
from tasks.training.batches import split
from tasks.training.checkpoints import STOPPED, Checkpoints, Found, Origin, Shape
from tasks.training.config import TrainConfig
from tasks.training.fit import Fit, difference
from tasks.training.following import Watch
from tasks.training.objectives import Sft
from tasks.training.parts import Share
from tasks.training.pictures import draw_loss
from tasks.training.preflight import check, note_sum
from tasks.training.ranks import devices, reports, start
from tasks.training.scan import scan
from tasks.training.together import Plan, hear_plan, meet
from tasks.training.uploads import Uploads

log = logging.getLogger(__name__)

POLL_S = 0.3
NUMERIC = ("python", "torch", "transformers", "peft", "bitsandbytes", "deepspeed", "accelerate", "luthier")


def work(job: Work[TrainConfig]) -> Summary:
    """Train to the end, from the newest checkpoint that any attempt at this input key has committed.

    Of several nodes the first decides, and has the result; the others have their ranks.
    """
    peers = Peers(job.platform, job.spec, job.place)
    peers.tell("node.json", job.place)
    if job.place.nodes == 1:
        return _train(job, peers, None)
    with Door(job.spec.attempt, job.place.node) as door:
        return _train(job, peers, check(job, peers, door))


def _train(job: Work[TrainConfig], peers: Peers, links: Links | None) -> Summary:
    here = _ranks_here(job.config)
    world = here * job.place.nodes
    fit = Fit(job, world)
    checkpoints, found = _agreed(job, fit, peers, here)
    job.note(resumed_from=found.folder.name if found else "the base model")
    log.info("starting from %s", found.folder.name if found else "the base model")
    if found and found.changed:
        log.warning("the rest may differ in the last bits from a run without a break: %s", found.changed)
    told = _told(job, found)
    meeting = meet(job, peers) if links else None
    curve = Curve(job.platform.tracking_uri, job.spec.key, _params(job), _memory_tags(job.config, fit))
    watch = Watch(job.scratch, here, job.config.ddp_timeout, peers=peers, links=links)
    ranks = start("tasks.training.rank", told, job.scratch, here, meeting)
    uploads = Uploads(job, checkpoints)
    lines: list[dict[str, Any]] = []
    try:
        _follow(job, ranks, watch, curve, uploads, peers, lines)
    except BaseException as error:
        end_descendants(grace_s=0)  # ranks take SIGTERM as a wish to save
        uploads.finish_if_possible()
        if job.place.first:
            curve.close("FAILED")
            if isinstance(error, OutOfMemory) and watch.training():
                raise fit.after(error, job.config) from error
        raise
    if not job.place.first:
        return {}
    curve.close("FINISHED")
    scan(job.out)
    trained = [line for line in lines if "loss" in line]
    history = json.loads((job.out / "log_history.json").read_bytes())
    (job.out / "loss.png").write_bytes(draw_loss(history))
    adapted = fit.learned.reason if fit.learned else None
    return _summary(job, trained, lines, curve, world, found) | uploads.figures() | {"adapted": adapted}


def _ranks_here(config: TrainConfig) -> int:
    return config.num_processes // config.resources.nodes if config.num_processes else devices()


def _agreed(job: Work[TrainConfig], fit: Fit, peers: Peers, here: int) -> tuple[Checkpoints, Found | None]:
    """The checkpoints of this input key and the one to go on from, as the first node decides; so it does the config."""
    world, room = here * job.place.nodes, job.scratch / "resumed"
    (job.scratch / "checkpoints").mkdir()
    if not job.place.first:
        plan = hear_plan(job, peers, here)
        job.config = plan.config
        checkpoints = _checkpoints(job, here)
        return checkpoints, checkpoints.follow(plan.checkpoint, room) if plan.checkpoint else None
    asked, job.config = job.config, fit.config()
    if fit.learned and job.config != asked:
        job.note(learned=difference(asked, job.config, world))
    checkpoints = _checkpoints(job, here)
    found = checkpoints.newest(room)
    peers.tell("plan.json", Plan(config=job.config, ranks=here, checkpoint=found.at if found else ""))
    return checkpoints, found


def _checkpoints(job: Work[TrainConfig], here: int) -> Checkpoints:
    shape, origin = _shape(job.config, here * job.place.nodes), _origin(job, here * job.place.nodes)
    share = Share(Peers(job.platform, job.spec, job.place), here) if job.place.nodes > 1 else None
    return Checkpoints(job.platform.store, job.spec.key, job.spec.attempt, shape, origin, share)


def _told(job: Work[TrainConfig], found: Found | None) -> Path:
    """The file that tells the ranks of this node where everything is; it is all there."""
    told = {
        "config": job.config.model_dump(mode="json"),
        "weights": str(job.inputs["weights"]),
        "weights_sha256": job.receipt("weights").content_sha256,
        "dataset": str(job.inputs["dataset"]),
        "shards": [str(folder) for folder in job.fetch_parts("dataset")],
        "out": str(job.out),
        "scratch": str(job.scratch),
        "reference": str(job.inputs["reference"]) if "reference" in job.spec.inputs else None,
        "resume_from": str(found.folder) if found else None,
        "universal": bool(found and found.universal),
    }
    path = job.scratch / "rank.json"
    path.write_bytes(canonical(told))
    return path


def _follow(
    job: Work[TrainConfig],
    ranks: subprocess.Popen[bytes],
    watch: Watch,
    curve: Curve,
    uploads: Uploads,
    peers: Peers,
    lines: list[dict[str, Any]],
) -> None:
    """Pass on what the ranks write until they end."""
    journal = _tail(job.scratch / "journal.jsonl")
    job.beat("loading the model")
    with Leaving(ranks.pid) as leaving:
        while True:
            status = ranks.poll()
            for line in iter(lambda: next(journal), None):
                lines.append(line)
                _show(job, line)
                curve.log(
                    line["step"],
                    {name: value for name, value in line.items() if name not in ("step", "steps", "eta_s")},
                )
            note_sum(job)
            uploads.check()
            if status is not None:
                _ended(job, status, watch, uploads, leaving)
                return
            leaving.look()
            watch.look()
            if not job.place.first and (at := watch.at()):
                job.beat(at)  # rank 0 writes the journal, and is elsewhere
            _look_at(job, peers, leaving)
            time.sleep(POLL_S)


def _look_at(job: Work[TrainConfig], peers: Peers, leaving: Leaving) -> None:
    """Raise what ended another node, or what a rank here has said, which came first.

    A node that was told to leave is as if this one had been: its ranks still save.
    """
    try:
        peers.look()
    except LuthierError as error:
        if isinstance(error, Preempted) and not isinstance(error, NodeLost):
            leaving.ask()
        elif said := reports(job.scratch):
            raise said[0] from error
        else:
            raise


def _show(job: Work[TrainConfig], line: dict[str, Any]) -> None:
    if "loss" in line:
        figures = {name: line[name] for name in ("loss", "tokens_per_s", "mfu")}
        job.beat("training", line["step"], line["steps"], line["eta_s"], **figures)
    else:
        log.info("step %s: validation loss %.4f", line["step"], line["eval_loss"])


def _ended(job: Work[TrainConfig], status: int, watch: Watch, uploads: Uploads, leaving: Leaving) -> None:
    """Nothing where the ranks finished; else what they reported, which tells more than torchrun's exit status."""
    stopped = (job.scratch / STOPPED).exists()
    if stopped or (leaving.asked and status != 0):
        raise Preempted("training was told to end (SIGTERM)", value="it did" if stopped else "its ranks had no time")
    if status != 0:
        raise watch.end(status)
    uploads.finish()


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
    found: Found | None,
) -> Summary:
    evaluated = [line["eval_loss"] for line in lines if "eval_loss" in line]
    speeds = sorted(line["tokens_per_s"] for line in trained)
    return {
        "method": job.config.tuning.method,
        **_judged(job.config, lines),
        "steps": trained[-1]["step"] if trained else 0,
        "loss": trained[-1]["loss"] if trained else None,
        "eval_loss": evaluated[-1] if evaluated else None,
        "tokens_per_s": speeds[len(speeds) // 2] if speeds else None,
        "mfu": sorted(line["mfu"] for line in trained)[len(trained) // 2] if trained else None,
        "num_processes": world,
        "per_device_train_batch_size": job.config.per_device_train_batch_size,
        "gradient_checkpointing": job.config.gradient_checkpointing,
        "resumed_from": found.folder.name if found else None,
        "resumed_across": (found.changed or None) if found else None,
        "trajectory": [*trajectory.entries(job.platform.store, job.spec.key)],
        "mlflow_run_id": curve.run_id,
        "mlflow_missed": curve.missed,
    }


def _params(job: Work[TrainConfig]) -> dict[str, str]:
    flat = job.config.material()
    tuning, objective = flat.pop("tuning"), flat.pop("objective", {})
    named = {"objective": objective.pop("method")} | objective if objective else {}
    return {name: str(value) for name, value in (flat | tuning | named).items() if value not in (None, {})}


def _judged(config: TrainConfig, lines: list[dict[str, Any]]) -> Summary:
    """The objective, and the last of each figure that it brings; nothing for sft."""
    if isinstance(config.objective, Sft):
        return {}
    figures = {name: value for line in lines for name, value in line.items() if "rewards/" in name or name == "kl"}
    return {"objective": config.objective.method, **figures}


def _memory_tags(config: TrainConfig, fit: Fit) -> dict[str, str]:
    """How the batch is worked off, which the parameters of the run leave out, as they leave the result alone."""
    return {
        "luthier.per_device_train_batch_size": str(config.per_device_train_batch_size),
        "luthier.gradient_checkpointing": str(config.gradient_checkpointing).lower(),
        "luthier.adapted": fit.learned.reason if fit.learned else "no",
    }


def _shape(config: TrainConfig, world: int) -> Shape:
    engine = "none" if config.deepspeed == "none" else "deepspeed"
    return Shape(engine=engine, zero_stage=zero.stage(config.deepspeed), world_size=world)


def _origin(job: Work[TrainConfig], world: int) -> Origin:
    shared = split(job.config.train_batch_size, job.config.per_device_train_batch_size, world)
    return Origin(
        weights=job.receipt("weights").content_sha256,
        dataset=job.receipt("dataset").content_sha256,
        seed=job.config.seed,
        train_batch_size=job.config.train_batch_size,
        accumulation=shared.accumulation,
        versions={name: version for name, version in versions().items() if name in NUMERIC},
    )


if __name__ == "__main__":
    main(TrainConfig, work)
