"""Read again everything that an artifact hangs on, and say what is not as it was committed. Nothing is changed."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from infra.errors import Corrupt, LuthierError
from infra.frozen import SEAL, unsealed
from infra.storage import layout, reference
from infra.storage.listing import seen
from infra.storage.objects import Objects
from infra.storage.receipt import FileEntry, Manifest, Receipt, content_sha256
from infra.storage.reference import Reference
from infra.storage.store import Store

READERS = 4  # files at once; each holds a block or two of 16 MiB
ReadCommit = Callable[
    [bytes], Iterable[FileEntry]
]  # the files of a checkpoint's record; ValueError where it is damaged


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was committed. Of the two last, at most one says what can be marked for it: an
    artifact, or the commit record (stage, key, generation) that cannot be read."""

    place: str
    expected: str
    actual: str
    manifest: Manifest | None = None
    record: tuple[str, str, int] | None = None


@dataclass(frozen=True)
class Target:
    """A file to be read: where it lies, what it must be, and whose it is (nobody's: a checkpoint's)."""

    place: str
    file: FileEntry
    manifest: Manifest | None


@dataclass
class Survey:
    """What hangs together by the commit records: each artifact once, with its inputs, its parts and theirs."""

    store: Store
    faults: list[Fault] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], Manifest | None] = field(default_factory=dict)
    checkpoints: int = 0

    @property
    def bytes(self) -> int:
        """How much is to be read."""
        return sum(target.file.size for target in self.targets.values())

    def chain(self, receipts: Iterable[Receipt]) -> None:
        """Take in artifacts and everything that they were made of."""
        waiting = list(receipts)
        while waiting:
            receipt = waiting.pop()
            manifest, new = self._known(receipt.stage, receipt.key)
            if manifest is not None and manifest.content_sha256 != receipt.content_sha256:
                place = f"{layout.home(receipt.stage, receipt.key)} (a receipt of it)"
                self.faults.append(Fault(place, receipt.content_sha256, manifest.content_sha256))
            if manifest is None and new and not self._told(receipt.stage, receipt.key):
                home = layout.home(receipt.stage, receipt.key)
                self.faults.append(Fault(home, f"content {receipt.content_sha256}", "no commit record"))
            if manifest is not None and new:
                waiting += [*manifest.inputs.values(), *manifest.parts.values()]

    def committed(self, stage: str, key: str) -> Manifest | None:
        """Take in what is committed under a key, if anything is, with all that it was made of."""
        manifest, new = self._known(stage, key)
        if manifest is not None and new:
            self.chain([*manifest.inputs.values(), *manifest.parts.values()])
        return manifest

    def wanted(self, stage: str, key: str, by: str) -> Manifest | None:
        """The same of what must be committed, because `by` says so."""
        manifest = self.committed(stage, key)
        if manifest is None and not self._told(stage, key):
            self.faults.append(Fault(layout.home(stage, key), f"what {by} names", "no commit record"))
        return manifest

    def all(self) -> None:
        """Take in everything that has a commit record."""
        before = ("", "")
        for item in seen(self.store.objects, "stages/"):
            parts = item.key.split("/")
            if len(parts) == 4 and layout.generation(parts[3]) and (parts[1], parts[2]) != before:
                before = (parts[1], parts[2])
                self.committed(*before)

    def training(self, key: str, read: ReadCommit) -> None:
        """Take in the committed checkpoints of a training, and the adapters that were kept of them."""
        for place in self.store.objects.list(layout.trajectory(key) + "/"):
            try:
                self.chain([Receipt.model_validate_json(self.store.objects.get(place) or b"")])
            except ValueError as error:
                self.faults.append(Fault(place, "a receipt", f"damaged: {_brief(error)}"))
        prefix = layout.checkpoints(key)
        for name in self.store.objects.list(prefix + "/"):
            at, _, last = name.rpartition("/")
            if last != "COMMIT.json" or at.rpartition("/")[0] != prefix:
                continue
            self.checkpoints += 1
            try:
                files = [*read(self.store.objects.get(name) or b"")]
            except ValueError as error:
                self.faults.append(Fault(name, "a commit record", f"damaged: {_brief(error)}"))
                continue
            self._add(at, files, None)

    def elsewhere(self, manifest: Manifest, attempt: str) -> None:
        """Take in the same files of an earlier attempt, to which something outside the store still leads."""
        self._add(layout.attempt(manifest.stage, manifest.key, attempt), manifest.files, None)

    def _known(self, stage: str, key: str) -> tuple[Manifest | None, bool]:
        if (stage, key) in self.artifacts:
            return self.artifacts[stage, key], False
        manifest = self.artifacts[stage, key] = self._read(stage, key)
        if manifest is not None:
            self._examine(manifest)
            self._add(layout.attempt(stage, key, manifest.attempt), manifest.files, manifest)
        return manifest, True

    def _read(self, stage: str, key: str) -> Manifest | None:
        try:
            manifest = self.store.newest(stage, key)
        except Corrupt as error:
            place = error.place.removeprefix(self.store.uri + "/")
            self.faults.append(self._unreadable(stage, key, place, error))
            return None
        if manifest is not None and (manifest.stage, manifest.key) != (stage, key):
            place = layout.manifest(stage, key, manifest.generation)
            there = f"the record of {manifest.stage} {manifest.key}"
            self.faults.append(Fault(place, f"of {stage} {key}", there, record=(stage, key, manifest.generation)))
            return None
        return manifest

    def _unreadable(self, stage: str, key: str, place: str, error: Corrupt) -> Fault:
        try:
            if SEAL in json.loads(data := self.store.objects.get(place) or b"") and unsealed(data):
                return Fault(place, "a commit record", "written by a newer Luthier")
        except (ValueError, TypeError):
            pass
        record = (stage, key, layout.generation(place) or 1)
        return Fault(place, "a commit record", f"damaged: {_brief(error.value)}", record=record)

    def _examine(self, manifest: Manifest) -> None:
        """What the record alone and the listing beside it show."""
        home = layout.home(manifest.stage, manifest.key)
        found = content_sha256(manifest.stage, manifest.files, manifest.parts)
        if found != manifest.content_sha256:
            place = layout.manifest(manifest.stage, manifest.key, manifest.generation)
            self.faults.append(Fault(place, manifest.content_sha256, found, manifest))
        mark = layout.tombstone(manifest.stage, manifest.key, manifest.attempt)
        if self.store.objects.size(mark) is not None:
            self.faults.append(Fault(f"{home}/{manifest.attempt}", "a whole artifact", "marked as corrupt before"))

    def _add(self, prefix: str, files: Iterable[FileEntry], manifest: Manifest | None) -> None:
        for file in files:
            place = f"{prefix}/{file.path}"
            self.targets.setdefault(place, Target(place, file, manifest))

    def _told(self, stage: str, key: str) -> bool:
        home = layout.home(stage, key)
        return any(fault.place == home or fault.place.startswith(home + "/") for fault in self.faults)


def check(survey: Survey, read: Callable[[int], object], readers: int = READERS) -> Iterator[Fault]:
    """Read every file of a survey, several at once, and what weights they only refer to; each that is not what was
    committed. `read` hears of bytes as they are read. Raises where the store does not answer."""
    objects = survey.store.objects
    with ThreadPoolExecutor(readers) as pool:
        waiting: deque[tuple[Target, Future[str]]] = deque()
        for target in survey.targets.values():
            waiting.append((target, pool.submit(_actual, objects, target, read)))
            if len(waiting) == 4 * readers:
                yield from _judged(survey.store, *waiting.popleft())
        while waiting:
            yield from _judged(survey.store, *waiting.popleft())


def _judged(store: Store, target: Target, actual: Future[str]) -> Iterator[Fault]:
    found, expected = actual.result(), target.file.sha256
    if found != expected:
        yield Fault(target.place, expected, found, target.manifest)
    elif target.file.path == reference.NAME and target.manifest is not None:
        yield from _referred(store, target)


def _referred(store: Store, target: Target) -> Iterator[Fault]:
    """Weights that are elsewhere. They are not ours to mark: the artifact is what it was, and what it means is gone."""
    held = Reference.model_validate_json(store.objects.get(target.place) or b"")
    try:
        for file, actual in reference.differing(held):
            yield Fault(f"{held.hub or held.bucket}/{file.path}", file.sha256, actual)
    except LuthierError as error:
        yield Fault(held.hub or held.bucket, f"{len(held.files)} files of weights", f"not looked at: {error.what}")


def _actual(objects: Objects, target: Target, read: Callable[[int], object]) -> str:
    """The sha256 of a file, or in words why it has none; what differs is read twice, for the way may be at fault."""
    first = _hashed(partial(objects.blocks, target.place), read)
    return first if first == target.file.sha256 else _hashed(partial(objects.blocks, target.place), lambda _: None)


def _hashed(blocks: Callable[[], Iterator[bytes]], read: Callable[[int], object]) -> str:
    sha = hashlib.sha256()
    try:
        for block in blocks():
            sha.update(block)
            read(len(block))
    except FileNotFoundError:
        return "missing"
    except Corrupt as error:
        return error.what
    except OSError as error:  # a disk that cannot read what it holds
        return f"cannot be read: {error.strerror}"
    return sha.hexdigest()


def condemn(store: Store, faults: Iterable[Fault]) -> int:
    """Mark what the faults belong to, so that the next run makes it anew; how many were marked."""
    artifacts = {
        (fault.manifest.stage, fault.manifest.key): fault.manifest for fault in faults if fault.manifest is not None
    }
    records = {fault.record for fault in faults if fault.record is not None}
    for manifest in artifacts.values():
        store.condemn(manifest)
    for record in records:
        store.condemn_record(*record)
    return len(artifacts) + len(records)


def _brief(error: object) -> str:
    return str(error).strip().splitlines()[0][:80] if str(error).strip() else "empty"
