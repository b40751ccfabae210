"""The commit protocol: immutable files under an attempt, then one conditional record that makes them the artifact."""

import contextlib
import hashlib
import logging
import uuid
from pathlib import Path

from infra.errors import Corrupt, LuthierError, StoreRefused
from infra.storage import layout
from infra.storage.objects import LocalObjects, Objects
from infra.storage.receipt import FileEntry, Manifest, Receipt

log = logging.getLogger(__name__)


class Store:
    """Artifacts by input key. Correct with any number of writers, killed at any instant, on file:// and s3://."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.uri = objects.uri

    def find(self, stage: str, key: str) -> Manifest | None:
        """The committed manifest of an input key, or None where nothing whole is committed.

        A manifest that is condemned, or whose files are missing or of another size, is reported and passed over: the
        stage runs again and commits the next generation.
        """
        manifest = self.newest(stage, key)
        if manifest is None:
            return None
        if self.objects.size(layout.tombstone(stage, key, manifest.attempt)) is not None:
            log.warning(
                "%s %s: attempt %s was found corrupt; the stage will be run again", stage, key, manifest.attempt
            )
            return None
        prefix = layout.attempt(stage, key, manifest.attempt)
        sizes = self.objects.list(prefix + "/")
        for file in manifest.files:
            if sizes.get(f"{prefix}/{file.path}") != file.size:
                log.warning("%s: %s is missing or has another size; the stage will be run again", prefix, file.path)
                return None
        return manifest if self._parts_are_whole(manifest) else None

    def _parts_are_whole(self, manifest: Manifest) -> bool:
        for name, part in manifest.parts.items():
            found = self.find(part.stage, part.key)
            if found is None or found.content_sha256 != part.content_sha256:
                log.warning(
                    "%s %s: its part %s is gone; the stage will be run again", manifest.stage, manifest.key, name
                )
                return False
        return True

    def newest(self, stage: str, key: str) -> Manifest | None:
        """The highest generation's manifest, whatever the state of its files; none where its record is marked as damaged."""
        return self._newest(stage, key)[1]

    def _newest(self, stage: str, key: str) -> tuple[int, Manifest | None]:
        found = self.objects.list(layout.home(stage, key) + "/MANIFEST")
        number = max((number for name in found if (number := layout.generation(name))), default=0)
        if number == 0 or layout.record_tombstone(stage, key, number) in found:
            return number, None
        place = layout.manifest(stage, key, number)
        data = self.objects.get(place)
        try:
            return number, None if data is None else Manifest.read(data)
        except ValueError as error:
            raise Corrupt(
                "a commit record cannot be read",
                place=f"{self.uri}/{place}",
                value=error,
                remedy="written by a newer Luthier, or damaged: then `luthier verify --all --condemn` has its stage run again",
            ) from error

    def receipt(self, manifest: Manifest) -> Receipt:
        """What later stages are handed of a committed manifest."""
        return Receipt(
            stage=manifest.stage,
            key=manifest.key,
            attempt=manifest.attempt,
            uri=f"{self.uri}/{layout.attempt(manifest.stage, manifest.key, manifest.attempt)}",
            content_sha256=manifest.content_sha256,
            summary=manifest.summary,
        )

    def manifest(self, receipt: Receipt) -> Manifest:
        """The manifest behind a receipt; Corrupt where it is gone or names another attempt."""
        manifest = self.newest(receipt.stage, receipt.key)
        if manifest is None or manifest.content_sha256 != receipt.content_sha256:
            raise Corrupt(
                "a receipt names an artifact that is not committed",
                place=receipt.uri,
                value=receipt.content_sha256,
                remedy="run the flow again: the stage that made it will be repeated",
            )
        return manifest

    def condemn(self, manifest: Manifest) -> None:
        """Mark an attempt as corrupt, for whoever runs its stage next."""
        self.objects.put(layout.tombstone(manifest.stage, manifest.key, manifest.attempt), b"corrupt")

    def condemn_record(self, stage: str, key: str, number: int) -> None:
        """Mark a commit record as damaged: the next run makes the artifact anew, as the next generation."""
        self.objects.put(layout.record_tombstone(stage, key, number), b"corrupt")

    def corrupt(self, manifest: Manifest, place: str, actual: str, expected: str) -> Corrupt:
        """Condemn an attempt for one of its files, and the error to raise about it."""
        self.condemn(manifest)
        return Corrupt(
            "a stored file is not what was committed",
            place=f"{self.uri}/{place}",
            value=f"sha256 {actual}, expected {expected}",
            remedy="run the flow again: the artifact is marked corrupt and will be made anew",
        )

    def read(self, receipt: Receipt, name: str) -> bytes:
        """One small file of an artifact, checked; Corrupt where it is not what was committed, or never was part of it."""
        manifest = self.manifest(receipt)
        expected = next((file.sha256 for file in manifest.files if file.path == name), None)
        if expected is None:  # nothing is wrong with the artifact
            raise Corrupt("an artifact has no such file", place=receipt.uri, value=name)
        place = layout.join(layout.attempt(manifest.stage, manifest.key, manifest.attempt), name)
        data = self.objects.get(place)
        actual = "missing" if data is None else hashlib.sha256(data).hexdigest()
        if data is None or actual != expected:
            raise self.corrupt(manifest, place, actual, expected)
        return data

    def upload(self, folder: Path, prefix: str) -> list[FileEntry]:
        """Store every file of a folder under a prefix, hashed on the way; nothing of it is visible to readers yet."""
        entries = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            size, sha = self.objects.upload(path, layout.join(prefix, name))
            entries.append(FileEntry(path=name, size=size, sha256=sha))
        return entries

    def commit(self, manifest: Manifest, *, supersede: bool = False) -> Manifest:
        """Make an attempt the artifact of its key, or return the manifest of whoever was first.

        The loser's files are removed. A lost reply to a winning write is recognised (see Objects.create).
        With `supersede`, other content than what is committed becomes the next generation: for stages that
        reconcile an outside system and may find it changed.
        """
        number, older = self._newest(manifest.stage, manifest.key)
        whole = older is not None and self.find(manifest.stage, manifest.key) is not None
        if older is not None and whole and not (supersede and older.content_sha256 != manifest.content_sha256):
            return self._yield_to(older, manifest)
        if number:
            replaces = older.attempt if older else ""
            manifest = manifest.model_copy(update={"generation": number + 1, "replaces": replaces})
        place = layout.manifest(manifest.stage, manifest.key, manifest.generation)
        if self.objects.create(place, manifest.record()):
            return manifest
        winner = self.newest(manifest.stage, manifest.key)
        if winner is None:
            raise Corrupt("a commit record vanished after it was written", place=f"{self.uri}/{place}")
        return self._yield_to(winner, manifest)

    def _yield_to(self, winner: Manifest, mine: Manifest) -> Manifest:
        if winner.attempt == mine.attempt:
            return winner
        if winner.content_sha256 != mine.content_sha256:
            log.warning("%s %s: two attempts made different bytes; kept %s", mine.stage, mine.key, winner.attempt)
        prefix = layout.attempt(mine.stage, mine.key, mine.attempt)
        for file in mine.files:
            self.objects.delete(f"{prefix}/{file.path}")
        return winner

    def probe(self) -> None:
        """Write, read, list and delete once, and see that the store refuses to overwrite; StoreRefused where not.

        Without conditional writes two runs could both believe that they committed (rclone's S3 server is such).
        """
        key = layout.join("probe", uuid.uuid4().hex)
        try:
            self._try_out(key)
        except OSError as error:
            raise StoreRefused(
                "the store cannot be used",
                place=self.uri,
                value=error,
                remedy="a local store needs a folder that you may write to, on a file system with hard links",
            ) from error
        finally:
            with contextlib.suppress(OSError, LuthierError):  # what went wrong before is what counts
                self.objects.delete(key)

    def _try_out(self, key: str) -> None:
        if not self.objects.create(key, b"first"):
            raise StoreRefused("the store refused to create a new object", place=f"{self.uri}/{key}")
        if self.objects.create(key, b"second") or self.objects.get(key) != b"first":
            raise StoreRefused(
                "the store ignores conditional writes (If-None-Match: *), so commits would not be safe",
                place=self.uri,
                remedy="use a server that honours them: AWS S3, SeaweedFS, MinIO, Ceph; or a local folder",
            )
        if self.objects.list(key) != {key: len(b"first")}:
            raise StoreRefused("the store does not list what was just written", place=f"{self.uri}/{key}")
        self.objects.delete(key)
        if self.objects.get(key) is not None:
            raise StoreRefused("the store does not delete", place=f"{self.uri}/{key}")


def open_objects(uri: str, deadline_s: float = 180.0) -> Objects:
    """The objects below a file:// or s3:// root; StoreRefused for any other scheme."""
    if uri.startswith("file://"):
        return LocalObjects(Path(uri.removeprefix("file://")))
    if uri.startswith("s3://"):
        from infra.storage.s3 import S3Objects  # noqa: PLC0415 - a local store needs no S3 client

        return S3Objects(uri, deadline_s)
    raise StoreRefused(
        "no such kind of store", place="LUTHIER_STORE", value=uri, remedy="use file:///folder or s3://bucket/prefix"
    )
