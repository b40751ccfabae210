"""Training checkpoints in the store: uploaded by the worker, valid from their COMMIT on, read back only verified."""

import hashlib
import logging
from pathlib import Path

from infra.errors import Corrupt, LuthierError
from infra.frozen import Frozen, canonical
from infra.storage import layout
from infra.storage.receipt import FileEntry
from infra.storage.store import Store

log = logging.getLogger(__name__)

KEPT = 2


class Shape(Frozen):
    """What must be equal for a checkpoint to continue exactly: DeepSpeed resumes into another silently from scratch."""

    engine: str
    zero_stage: int
    world_size: int


class Commit(Frozen):
    """The record that makes a checkpoint one."""

    step: int
    shape: Shape
    files: list[FileEntry]


class Checkpoints:
    """The checkpoints of one input key, whichever attempt wrote them."""

    def __init__(self, store: Store, key: str, attempt: str, shape: Shape) -> None:
        self.store, self.attempt, self.shape = store, attempt, shape
        self.prefix = layout.checkpoints(key)

    def save(self, folder: Path, step: int) -> None:
        """Upload a complete checkpoint, commit it, and drop all but the newest two."""
        at = layout.join(self.prefix, f"{step:08d}-{self.attempt}")
        commit = Commit(step=step, shape=self.shape, files=self.store.upload(folder, at))
        self.store.objects.create(layout.join(at, "COMMIT.json"), canonical(commit.model_dump(mode="json")))
        for old in self._committed()[KEPT:]:
            self._drop(old)

    def newest(self, folder: Path) -> Path | None:
        """Fetch the newest checkpoint that fits and is whole into `folder`; older ones are tried after bad ones."""
        for at in self._committed():
            data = self.store.objects.get(f"{at}/COMMIT.json")
            commit = Commit.model_validate_json(data) if data else None
            if commit is None or commit.shape != self.shape:
                log.warning("%s: does not fit this run (%s); not used", at, commit.shape if commit else "gone")
                continue
            try:
                return self._fetch(at, commit, folder / f"checkpoint-{commit.step}")
            except (LuthierError, FileNotFoundError) as error:
                log.warning("%s: not used, trying an older one: %s", at, error)
        return None

    def _committed(self) -> list[str]:
        found = self.store.objects.list(self.prefix + "/")
        return sorted(
            (name.removesuffix("/COMMIT.json") for name in found if name.endswith("/COMMIT.json")), reverse=True
        )

    def _fetch(self, at: str, commit: Commit, target: Path) -> Path:
        for file in commit.files:
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
        return target

    def _drop(self, at: str) -> None:
        # COMMIT first: what is half deleted must not look whole.
        self.store.objects.delete(f"{at}/COMMIT.json")
        for name in self.store.objects.list(at + "/"):
            self.store.objects.delete(name)
