"""The worker's side of the contract: fetch, work, upload, commit, and say how it ended. One process a node."""

import errno
import importlib.metadata
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from pydantic import JsonValue

from infra import settings
from infra.errors import Crashed, Lost, LuthierError, OutOfMemory, Preempted
from infra.frozen import Frozen, canonical, digest
from infra.launch.lifeline import end_descendants, hold_on_to_parent
from infra.launch.nodes import Place, place
from infra.launch.scratch import scratch
from infra.launch.step import Beat, Outcome, Spec, incarnation
from infra.settings import Platform
from infra.storage import layout
from infra.storage.objects import sha256_of
from infra.storage.receipt import Manifest, Origin, Receipt, content_sha256

log = logging.getLogger(__name__)

C = TypeVar("C", bound=Frozen)
Summary = dict[str, JsonValue]

BEAT_S = 5.0
LEAVE_S = 3.0  # for the last word of one that was told to leave, to a store that may be away
LEFT = 75  # its exit status where that was not enough
RESTART = "LUTHIER_RESTART"  # how often a cluster has begun this worker anew
ROOM = 256 * 2**20  # bytes free without which no stage is begun; those that know their need ask for it
_RECORDED = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "deepspeed",
    "accelerate",
    "datasets",
    "lm-eval",
    "mlflow",
    "luthier",
)


class Inputs(Mapping[str, Path]):
    """A step's inputs as read-only folders, each fetched and checked when it is first asked for."""

    def __init__(self, spec: Spec, platform: Platform, root: Path) -> None:
        self._spec, self._platform, self._root = spec, platform, root

    def __getitem__(self, name: str) -> Path:
        receipt, folder = self._spec.inputs[name], self._root / name
        if not folder.exists():
            folder.mkdir(parents=True)
            self._platform.cache.materialise(self._platform.store, receipt, folder)
        return folder

    def __iter__(self) -> Iterator[str]:
        return iter(self._spec.inputs)

    def __len__(self) -> int:
        return len(self._spec.inputs)


@dataclass
class Work(Generic[C]):
    """What a worker is given: its config, its inputs as read-only folders, an empty `out` to fill, room in `scratch`.

    Artifacts that it puts into `parts` become part of the one that it makes, without a copy. In `origins` it says which
    files from outside the store went into it. `place` is this node among those that do the work together.
    """

    config: C
    inputs: Mapping[str, Path]
    spec: Spec
    platform: Platform
    out: Path
    scratch: Path
    parts: dict[str, Receipt] = field(default_factory=dict)
    origins: list[Origin] = field(default_factory=list)
    place: Place = field(default_factory=Place)
    _beat: Beat = field(default_factory=lambda: Beat(at=time.time()))
    _notes: dict[str, str] = field(default_factory=dict)

    def note(self, **notes: str) -> None:
        """Something about this whole launch that people want to know, such as from where it goes on."""
        self._notes.update(notes)

    def beat(self, phase: str, step: int = 0, steps: int = 0, eta_s: float | None = None, **figures: float) -> None:
        """Say what is going on; the sign of life itself is sent every few seconds without it."""
        self._beat = Beat(at=time.time(), phase=phase, step=step, steps=steps, eta_s=eta_s, figures=figures)

    def now(self) -> Beat:
        """What is going on, as it is sent."""
        return self._beat.model_copy(update={"at": time.time(), "notes": dict(self._notes)})

    def require_space(self, need: int, what: str) -> None:
        """Lost where the disk has no room for `need` bytes: to be asked before hours of work, not found out after."""
        free = shutil.disk_usage(self.scratch).free
        if need > free:
            raise Lost(
                f"{self.spec.stage}: the disk is too small for {what}",
                place=str(self.scratch),
                value=f"{need:,} bytes needed, {free:,} free",
                remedy="free some space, or set LUTHIER_HOME to a larger disk",
            )

    def receipt(self, name: str) -> Receipt:
        """The receipt behind an input."""
        return self.spec.inputs[name]

    def read(self, name: str, file: str) -> bytes:
        """One small file of an input, without fetching the rest."""
        return self.platform.store.read(self.receipt(name), file)

    def fetch_parts(self, name: str) -> list[Path]:
        """The parts of an input as read-only folders, in the order of their names."""
        parts = self.platform.store.manifest(self.receipt(name)).parts
        return [
            self.platform.cache.materialise(self.platform.store, parts[part], self.scratch / "parts" / name / part)
            for part in sorted(parts)
        ]


def main(config_type: type[C], work: Callable[[Work[C]], Summary]) -> None:
    """Run a worker: `python -m tasks.<stage>.worker <spec key>`. An error becomes the outcome, and is not raised.

    Only without store or spec, where no outcome can be written, does it raise.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    hold_on_to_parent()
    signal.signal(signal.SIGTERM, _leave)
    platform, here = settings.load().platform(), place()
    data = platform.store.objects.get(sys.argv[1])
    if data is None:
        raise SystemExit(f"no spec at {platform.store.uri}/{sys.argv[1]}")
    spec = Spec.model_validate_json(data)
    spec = spec.model_copy(update={"attempt": incarnation(spec.attempt, int(os.environ.get(RESTART, "0")))})
    try:
        with scratch(platform.home / "work", here.named(f"{spec.stage}-{spec.attempt}")) as folder:
            outcome = _run(config_type, work, spec, platform, folder, here)
    except Exception as error:
        log.exception("%s failed", spec.stage)
        if isinstance(error, Preempted):
            _be_gone_soon()
        outcome = Outcome(state="failed", error=foreseen(error, spec.stage).report())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is over; what is left takes a moment
    _tell(platform, spec, here.named("outcome.json"), outcome)


def foreseen(error: Exception, stage: str) -> LuthierError:
    """The error that the stage is told of."""
    if isinstance(error, LuthierError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(f"{stage}: the machine ran out of memory", value=error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Lost(f"{stage}: the disk is full", place=error.filename or "", remedy="free some space")
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Crashed(f"{stage}: {type(error).__name__}: {str(error)[:2000]}", place=f"{last.filename}:{last.lineno}")


def _run(
    config_type: type[C], work: Callable[[Work[C]], Summary], spec: Spec, platform: Platform, scratch: Path, here: Place
) -> Outcome:
    out, began = scratch / "out", time.monotonic()
    out.mkdir()
    inputs = Inputs(spec, platform, scratch / "inputs")
    job = Work(config_type.model_validate(spec.config), inputs, spec, platform, out, scratch, place=here)
    job.require_space(ROOM, "any work")
    job.beat("fetching")
    stop = threading.Event()
    heart = threading.Thread(target=_keep_beating, args=(job, stop), daemon=True, name="heartbeat")
    heart.start()
    try:
        summary = work(job)
        if not here.first:
            return Outcome(state="done")
        job.beat("storing")
        seconds = round(time.monotonic() - began, 3)
        receipt = commit(platform, spec, out, summary, job.parts, origins=job.origins, seconds=seconds)
        return Outcome(state="committed", receipt=receipt)
    finally:
        stop.set()
        heart.join(BEAT_S)


def commit(
    platform: Platform, spec: Spec, out: Path, summary: Summary, parts: Mapping[str, Receipt] | None = None, **told: Any
) -> Receipt:
    """Upload a folder as an attempt at a spec's key and make it the artifact, or the receipt of whoever was first.

    `told` are further fields of its manifest that enter no hash: origins, seconds.
    """
    store = platform.store
    files = store.upload(out, layout.attempt(spec.stage, spec.key, spec.attempt))
    manifest = Manifest(
        stage=spec.stage,
        version=spec.version,
        key=spec.key,
        attempt=spec.attempt,
        files=files,
        content_sha256=content_sha256(spec.stage, files, parts),
        config=spec.config,
        inputs=spec.inputs,
        parts=dict(parts or {}),
        summary=json.loads(canonical(summary)),
        versions=versions(),
        code=code(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **told,
    )
    return store.receipt(store.commit(manifest, supersede=spec.always))


def _keep_beating(job: Work[C], stop: threading.Event) -> None:
    """A beat every few seconds, and a last one at the end."""
    over = False
    while True:
        try:
            _tell(job.platform, job.spec, job.place.named("heartbeat.json"), job.now())
        except LuthierError as error:
            # The store's own calls decide whether the work fails; a missed beat is only a missed beat.
            log.warning("heartbeat not delivered: %s", error)
        if over:
            return
        over = stop.wait(BEAT_S)


def _tell(platform: Platform, spec: Spec, name: str, value: Frozen) -> None:
    at = layout.job(spec.stage, spec.key, spec.attempt, name)
    platform.store.objects.put(at, canonical(value.model_dump(mode="json")))


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    end_descendants()
    raise Preempted("the worker was told to end (SIGTERM)")


def _be_gone_soon() -> None:
    timer = threading.Timer(LEAVE_S, os._exit, (LEFT,))
    timer.daemon = True
    timer.start()


@lru_cache(maxsize=1)
def code() -> str:
    """A hash over Luthier's own source as this process has it: says whether two artifacts were made by the same code."""
    root = Path(__file__).parents[2]
    files = [path for top in ("infra", "pipelines", "tasks") for path in sorted((root / top).rglob("*.py"))]
    return digest([[path.relative_to(root).as_posix(), sha256_of(path)[1]] for path in files])[:16]


def versions() -> dict[str, str]:
    """What made an artifact: Python, Luthier and the libraries that may change a result."""
    installed = {name: _version(name) for name in _RECORDED}
    return {"python": sys.version.split()[0]} | {name: version for name, version in installed.items() if version}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
