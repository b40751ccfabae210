"""Named moments at which a process of a run can be killed, without a line in the code that is killed."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
Act = Literal["kill", "stop", "leave"]


@dataclass(frozen=True)
class Point:
    """The `nth` call of a function of which the arguments, as text, match an expression: just before it, or just after."""

    module: str
    function: str
    when: Literal["before", "after"]
    match: str = ""
    nth: int = 1


OBJECTS = {"file": ("infra.storage.objects", "LocalObjects"), "s3": ("infra.storage.s3", "S3Objects")}

CREATED, TOLD = "record created", "outcome told"

# What every worker goes through, in order.
_START = {
    "platform ready": Point("infra.settings", "Settings.platform", "after"),
    "room to be made": Point("infra.launch.scratch", "scratch", "before"),
    "work to begin": Point("infra.launch.work", "_run", "before"),
}
_INPUTS = {
    "input looked up": Point("infra.storage.store", "Store.manifest", "after"),
    "input fetched": Point("infra.storage.cache", "Cache._download", "after"),
    "input laid out": Point("infra.storage.cache", "Cache._link", "after"),
}


def _commit(stage: str, kind: str) -> dict[str, Point]:
    module, objects = OBJECTS[kind]
    attempt = rf"stages/{stage}/\w{{64}}/\w{{32}}"
    local = {
        "file half written": Point(module, f"{objects}._temporary", "after", attempt),
        "file written, not in place": Point(module, f"{objects}._finished", "after", attempt),
    }
    return {
        "work done": Point("infra.launch.work", "commit", "before"),
        **(local if kind == "file" else {}),
        "first file stored": Point(module, f"{objects}.upload", "after", attempt),
        "all files stored": Point("infra.storage.store", "Store.upload", "after", attempt),
        "record to be created": Point(module, f"{objects}.create", "before", _record(stage)),
    }


def _end(stage: str, kind: str) -> dict[str, Point]:
    module, objects = OBJECTS[kind]
    return {
        CREATED: Point(module, f"{objects}.create", "after", _record(stage)),
        "outcome to be told": Point("infra.launch.work", "_tell", "before", "outcome.json"),
        TOLD: Point("infra.launch.work", "_tell", "after", "outcome.json"),
    }


# The heart beats beside the work, which goes on meanwhile: what comes earlier than this point is then behind it.
_BEAT = {"heartbeat told": Point("infra.launch.work", "_tell", "after", "heartbeat")}


def _record(stage: str) -> str:
    return rf"stages/{stage}/\w{{64}}/MANIFEST"


# The process that runs the flow.
FLOW = {
    "spec to be written": Point("infra.launch.produce", "_launch", "before"),
    "worker started": Point("infra.launch.local", "LocalLauncher.start", "after"),
    "worker being followed": Point("infra.launch.produce", "_read_outcome", "before"),
}

_SHARD = r"Manifest\(format=\d+, stage='shard'"

# What a stage does between its inputs and its commit.
STAGES: dict[str, dict[str, Point]] = {
    "tokenizer": {
        "files found": Point("tasks.base.origin", "tokenizer_files", "after"),
        "source to be hashed": Point("tasks.base.origin", "hash_of", "before"),
        "source hashed": Point("tasks.base.origin", "hash_of", "after"),
    },
    "weights": {
        "weights to be written": Point("infra.models.tensors", "rewrite", "before"),
        "weights written": Point("infra.models.tensors", "rewrite", "after"),
        "source hashed": Point("tasks.base.origin", "hash_of", "after"),
    },
    "data": {
        "shard to be committed": Point("infra.storage.store", "Store.commit", "before", _SHARD),
        "shard committed": Point("infra.storage.store", "Store.commit", "after", _SHARD),
        "report written": Point("tasks.data.report", "save", "after"),
    },
    "training": {
        "checkpoint looked for": Point("tasks.training.checkpoints", "Checkpoints.newest", "after"),
        "rank told a step": Point("tasks.training.callbacks", "Journal.on_log", "after"),
        "checkpoint half stored": Point("infra.storage.store", "Store.upload", "after", "checkpoints"),
        "checkpoint committed": Point("infra.storage.objects", "LocalObjects.create", "after", "COMMIT.json"),
        "trained": Point("tasks.training.scan", "scan", "before"),
    },
    "merging": {
        "weights merged": Point("infra.models.tensors", "rewrite", "after"),
        "models compared": Point("tasks.merging.parity", "compare", "after"),
        "folder for MLflow written": Point("infra.tracking.flavor", "write", "after"),
    },
    "evaluation": {
        "question put": Point("tasks.evaluation.question", "write", "after", r"Question\("),
        "model to be asked": Point("tasks.evaluation.asking", "ask", "before"),
        "model asked": Point("tasks.evaluation.asking", "ask", "after"),
        "scores stored": Point("tasks.evaluation.scores", "store", "after"),
    },
    "gate": {
        "judged": Point("tasks.gate.verdict", "judge", "after"),
        "page written": Point("tasks.gate.report", "page", "after"),
    },
    "registry": {
        "run made": Point("infra.tracking.versions", "Versions.ensure_run", "after"),
        "figures recorded": Point("infra.tracking.versions", "Versions.record", "after"),
        "model named": Point("infra.tracking.versions", "Versions._ensure_model", "after"),
        "version to be tagged": Point("infra.tracking.versions", "Versions._update", "before"),
        "version made": Point("infra.tracking.versions", "Versions.ensure", "after"),
        "alias moved": Point("infra.tracking.versions", "Versions.point", "after"),
    },
}


def points(stage: str, kind: str = "file") -> dict[str, Point]:
    """Every named point of a stage's worker, in the order in which a run comes by."""
    inputs = {} if stage in ("tokenizer", "weights") else _INPUTS
    return {**_START, **inputs, **_BEAT, **STAGES.get(stage, {}), **_commit(stage, kind), **_end(stage, kind)}


def arm(folder: Path, point: Point, act: Act = "kill") -> dict[str, str]:
    """The variables with which all processes below strike at that point, the first of them that comes there, once."""
    folder.mkdir(parents=True)
    shutil.copyfile(Path(__file__).parent / "armed" / "sitecustomize.py", folder / "sitecustomize.py")
    (folder / "fault.json").write_text(json.dumps(asdict(point) | {"act": act}))
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def struck(folder: Path) -> bool:
    """Whether a process came by."""
    return (folder / "struck").exists()
