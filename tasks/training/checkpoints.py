"""Training checkpoints in the store: uploaded by the worker, valid from their COMMIT on, read back only verified."""

import hashlib
import json
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from infra.errors import BadRecipe, Corrupt, Crashed, Lost
from infra.frozen import SEAL, Frozen, canonical, sealed, unsealed
from infra.storage import layout
from infra.storage.receipt import FileEntry
from infra.storage.store import Store
from tasks.training import universal
from tasks.training.parts import Share

log = logging.getLogger(__name__)

KEPT = 2
UNSEALED = {"step", "shape", "files"}  # of records from before seals
CONDEMNED = "CORRUPT.json"  # beside a COMMIT: a node found a wrong byte in its part
STOPPED = "stopped"  # the mark of ranks that were told to end, and have


class Shape(Frozen):
    """What must be equal for a checkpoint to continue exactly: DeepSpeed resumes into another silently from scratch."""

    engine: str
    zero_stage: int
    world_size: int


class Origin(Frozen):
    """What a run is made of. The key has all of it but versions and accumulation, which may cost bit-equality."""

    weights: str
    dataset: str
    seed: int
    train_batch_size: int
    accumulation: int
    versions: dict[str, str]

    def inexact(self, other: "Origin") -> str:
        """What differs between two parts of a run whose sums may come out otherwise in the last bits; empty: nothing."""
        names = sorted(self.versions.keys() | other.versions.keys())
        changed = [name for name in names if self.versions.get(name) != other.versions.get(name)]
        told = [f"{name} {self.versions.get(name, '–')} → {other.versions.get(name, '–')}" for name in changed]
        if self.accumulation != other.accumulation:
            told.append(f"accumulation {self.accumulation} → {other.accumulation}")
        return ", ".join(told)

    def same_run(self, other: "Origin") -> bool:
        """Whether a checkpoint of one continues the other."""
        return self.model_copy(update={"accumulation": other.accumulation, "versions": other.versions}) == other


class Commit(Frozen):
    """The record that makes a checkpoint one."""

    step: int
    shape: Shape
    origin: Origin
    eval_loss: float | None = None
    universal: bool = False
    files: list[FileEntry]


def read(data: bytes) -> Commit:
    """The record that these bytes are; ValueError where they are damaged."""
    return Commit.model_validate(unsealed(data))


def files(data: bytes) -> list[FileEntry]:
    """The files of a record, also of one that another Luthier wrote; ValueError where it is damaged."""
    told = unsealed(data)
    if f'"{SEAL}":'.encode() not in data and set(told) != UNSEALED:
        raise ValueError("it has no seal")
    return [FileEntry.model_validate(file) for file in told.get("files", [])]


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from, verified, on this disk, and where it lies in the store.

    `changed`: what may keep the run from being bit-equal.
    """

    folder: Path
    step: int
    at: str
    changed: str = ""
    universal: bool = False


class Checkpoints:
    """The checkpoints of one input key, whichever attempt wrote them; `share` is this node's where there are several."""

    def __init__(
        self, store: Store, key: str, attempt: str, shape: Shape, origin: Origin, share: Share | None = None
    ) -> None:
        self.store, self.attempt, self.shape, self.origin, self.share = store, attempt, shape, origin, share
        self.prefix = layout.checkpoints(key)

    def save(self, folder: Path, step: int) -> Commit:
        """Upload a complete checkpoint, commit it, and drop all but those of the newest two steps and of the best."""
        at, blank = self._place(step), Commit(step=step, shape=self.shape, origin=self.origin, files=[])
        if self.share is None:
            return self._seal(folder, at, blank, self.store.upload(folder, at))
        own = self.share.store(self.store, folder, at)
        return self._seal(folder, at, blank, [*own, *self.share.gather(self.store, at)])

    def save_part(self, folder: Path, step: int) -> None:
        """Upload what the ranks of this node wrote of a checkpoint, for the first node to commit."""
        assert self.share is not None
        self.share.store(self.store, folder, self._place(step))

    def follow(self, at: str, folder: Path) -> Found:
        """Fetch this node's part of the checkpoint that the first node has chosen; Lost where it is damaged."""
        commit = self._read(at)
        if commit is None:
            raise Lost("the checkpoint that the first node chose is not there any more", place=at)
        target = folder / f"checkpoint-{commit.step}"
        try:
            self._fetch(at, commit, target)
        except (Corrupt, FileNotFoundError) as error:
            told = canonical({"attempt": self.attempt, "why": str(error)})
            self.store.objects.put(layout.join(at, CONDEMNED), told)
            raise Lost(
                "this node's part of a checkpoint is damaged", place=at, value=error, remedy="an older one is next"
            ) from error
        return Found(target, commit.step, at, universal=commit.universal)

    def newest(self, folder: Path) -> Found | None:
        """Fetch the newest checkpoint that fits and is whole into `folder`; older ones are tried after bad ones.

        One of another number of processes is converted first, and committed so. BadRecipe where that is the only
        thing that keeps the run from going on.
        """
        hindered: Found | None = None
        for at, commit in self._fitting():
            room = folder / at.rpartition("/")[2]
            try:
                self._fetch(at, commit, room / f"checkpoint-{commit.step}")
                return self._ready(room / f"checkpoint-{commit.step}", at, commit)
            except (Corrupt, FileNotFoundError) as error:
                log.warning("%s: not used, trying an older one: %s", at, error)
            except Crashed as error:
                log.warning("%s: not used, trying an older one: %s", at, error)
                hindered = hindered or Found(room, commit.step, at, str(error))
        if hindered is not None:
            raise BadRecipe(
                f"the checkpoint of step {hindered.step} is of another number of processes and cannot be converted",
                place="train.num_processes",
                value=f"{self.shape.world_size}: {hindered.changed}",
                remedy=f"set the number that it had before; or remove {self.store.uri}/{self.prefix} to start anew",
            )
        return None

    def _ready(self, fetched: Path, at: str, commit: Commit) -> Found:
        """A checkpoint in the form that this run can load."""
        changed = commit.origin.inexact(self.origin)
        if self._own(commit):
            return Found(fetched, commit.step, at, changed)
        told = [f"processes {commit.shape.world_size} → {self.shape.world_size}", changed]
        found = Found(fetched, commit.step, at, ", ".join(filter(None, told)), commit.universal)
        if commit.universal or self.shape.engine == "none":
            return found
        target = fetched.with_name(universal.FORM) / fetched.name
        universal.convert(fetched, target)
        made = self._place(commit.step)
        self._seal(target, made, commit.model_copy(update={"universal": True}), self.store.upload(target, made))
        return replace(found, folder=target, at=made, universal=True)

    def _place(self, step: int) -> str:
        return layout.join(self.prefix, f"{step:08d}-{self.attempt}")

    def _seal(self, folder: Path, at: str, commit: Commit, files: list[FileEntry]) -> Commit:
        stored = commit.model_copy(update={"files": files, "eval_loss": _eval_loss(folder, commit.step)})
        self.store.objects.create(layout.join(at, "COMMIT.json"), sealed(stored.model_dump(mode="json")))
        self._retire()
        return stored

    def _fitting(self) -> list[tuple[str, Commit]]:
        """Newest first, and of one step first those of this number of processes, then what is converted already."""
        fitting = []
        for at in self._committed():
            commit = self._read(at)
            reason = "its commit record cannot be read" if commit is None else self._unfit(commit)
            if commit is None or reason:
                log.warning("%s: not used: %s", at, reason)
            else:
                fitting.append((at, commit))
        return sorted(fitting, key=lambda one: (-one[1].step, not self._own(one[1]), not one[1].universal))

    def _own(self, commit: Commit) -> bool:
        return commit.shape == self.shape and not commit.universal

    def _unfit(self, commit: Commit) -> str:
        """Why a checkpoint cannot be gone on from; empty where it can."""
        if commit.shape.model_copy(update={"world_size": self.shape.world_size}) != self.shape:
            return f"made by another kind of run ({commit.shape}, this is {self.shape})"
        if not commit.origin.same_run(self.origin):
            return "made of another base, dataset, seed or batch"
        names = {file.path for file in commit.files}
        if commit.universal:
            return "" if f"latest_{universal.FORM}" in names else "it does not say which states are its own"
        return missing(names, commit.shape)

    def _committed(self) -> list[str]:
        """Where a COMMIT lies, the highest step first, but for those that a node has found damaged."""
        found = set(self.store.objects.list(self.prefix + "/"))
        committed = {name.removesuffix("/COMMIT.json") for name in found if name.endswith("/COMMIT.json")}
        return sorted((at for at in committed if f"{at}/{CONDEMNED}" not in found), reverse=True)

    def _read(self, at: str) -> Commit | None:
        data = self.store.objects.get(f"{at}/COMMIT.json")
        try:
            return read(data) if data else None
        except ValueError:  # of another version, or damaged
            return None

    def _fetch(self, at: str, commit: Commit, target: Path) -> None:
        share = self.share if self._own(commit) else None  # else it is converted, or has no files of ranks
        for file in commit.files:
            if share is not None and not share.needs(file.path):
                continue
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            sha = hashlib.sha256()
            with path.open("wb") as out:
                for block in self.store.objects.blocks(f"{at}/{file.path}"):
                    sha.update(block)
                    out.write(block)
            if sha.hexdigest() != file.sha256:
                raise Corrupt(
                    "a checkpoint is not what was committed", place=f"{at}/{file.path}", value=sha.hexdigest()
                )
        for states in target.glob("global_step*"):
            (target / "latest").write_text(states.name)  # DeepSpeed's own is written before its files are

    def _retire(self) -> None:
        committed = {at: self._read(at) for at in self._committed()}
        losses = {one.step: one.eval_loss for one in committed.values() if one and one.eval_loss is not None}
        best = min(losses, key=lambda step: losses[step], default=None)
        newest = sorted({_step(at) for at in committed})[-KEPT:]
        for at in committed:
            if _step(at) not in [*newest, best]:
                self._drop(at)

    def _drop(self, at: str) -> None:
        # COMMIT first: what is half deleted must not look whole.
        self.store.objects.delete(f"{at}/COMMIT.json")
        for name in self.store.objects.list(at + "/"):
            self.store.objects.delete(name)


def _step(at: str) -> int:
    return int(at.rpartition("/")[2].partition("-")[0])


def missing(names: set[str], shape: Shape) -> str:
    """What of a checkpoint's files is missing or belongs to another run; empty where all is there.

    The Trainer goes on without a word where a rank's random state is not there.
    """
    ranks = range(shape.world_size)
    random = {f"rng_state_{rank}.pth" for rank in ranks} if shape.world_size > 1 else {"rng_state.pth"}
    found = {name for name in names if name.startswith("rng_state")}
    if found != random:
        return f"random states are not those of its ranks: {sorted(found ^ random)}"
    if shape.engine == "none":
        absent = {"optimizer.pt", "scheduler.pt"} - names
        return f"there is no {sorted(absent)[0]}" if absent else ""
    if len({name.split("/")[0] for name in names if name.startswith("global_step")}) != 1:
        return "it does not hold the states of exactly one step"
    shards = [re.search(r"zero_pp_rank_(\d+)_mp_rank_\d+_optim_states\.pt$", name) for name in names]
    held = {int(shard[1]) for shard in shards if shard}
    if shape.zero_stage and held != set(ranks):
        return f"optimizer states are not those of its ranks: {sorted(held ^ set(ranks))}"
    return ""


def _eval_loss(folder: Path, step: int) -> float | None:
    """The validation loss of the very step, where there was one."""
    history = json.loads((folder / "trainer_state.json").read_bytes())["log_history"]
    found = [line["eval_loss"] for line in history if line["step"] == step and "eval_loss" in line]
    return float(found[-1]) if found else None
