"""The node's own copy of files, by hash: fetched once, checked, shared by every stage that runs here."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from infra.errors import Corrupt, Lost
from infra.storage import layout, reference
from infra.storage.receipt import FileEntry, Receipt
from infra.storage.store import Store

log = logging.getLogger(__name__)

LOCK_S = 3600.0  # one file of an 80 GB model over a slow link; the holder's death frees the lock at once
UNTOUCHED = 10**9  # every cached file's mtime: a write through a link to it changes that, and it is fetched anew


class Cache:
    """Files by sha256 below a folder, at most `max_bytes` of them beside those in use."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes

    def materialise(self, store: Store, receipt: Receipt, folder: Path) -> Path:
        """Lay an artifact's files into `folder`, read-only, every byte checked against its manifest; weights that it only
        refers to are fetched from where they are.

        Raises Corrupt (key, expected and actual hash) and Lost where the disk is too small, before anything is read.
        """
        manifest = store.manifest(receipt)
        prefix = layout.attempt(manifest.stage, manifest.key, manifest.attempt)
        self.require_space(manifest.files)
        for file in manifest.files:
            key = f"{prefix}/{file.path}"
            actual = self.take(file, partial(store.objects.blocks, key), folder / file.path)
            if actual != file.sha256:
                raise store.corrupt(manifest, key, actual, file.sha256)
        reference.resolve(folder, self)
        self.trim()
        return folder

    def take(self, file: FileEntry, read: Callable[[], Iterator[bytes]], target: Path) -> str:
        """Lay one file at `target`, read-only, by `read` where it is not here yet; its sha256. Where that is not the
        wanted one, because `read` gives other bytes or finds nothing (`missing`), nothing is laid there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock(file), timeout=LOCK_S):
            actual = self._fetched(file, read)
            if actual == file.sha256:
                self._link(self._blob(file), target)
        return actual

    def _fetched(self, file: FileEntry, read: Callable[[], Iterator[bytes]]) -> str:
        blob = self._blob(file)
        if self._intact(file):
            os.utime(blob, (time.time(), UNTOUCHED))
            return file.sha256
        actual = ""
        for _ in range(2):  # a mismatch is read once more: the source may be right and the way wrong
            actual = self._download(read, blob, file.sha256)
            if actual == file.sha256:
                return actual
            log.warning("%s: read %s instead of %s", file.path, actual, file.sha256)
        return actual

    def _intact(self, file: FileEntry) -> bool:
        try:
            stat = self._blob(file).stat()
        except FileNotFoundError:
            return False
        return (stat.st_size, int(stat.st_mtime)) == (file.size, UNTOUCHED)

    @staticmethod
    def _download(read: Callable[[], Iterator[bytes]], blob: Path, expected: str) -> str:
        """Fetch a file to `blob` if its hash is the expected one; its hash, or `missing`."""
        sha, part = hashlib.sha256(), blob.with_suffix(".part")  # ours alone: the file's lock is held
        try:
            with part.open("wb") as out:
                for block in read():
                    sha.update(block)
                    out.write(block)
            if sha.hexdigest() == expected:
                part.chmod(0o444)
                os.utime(part, (time.time(), UNTOUCHED))
                os.replace(part, blob)
        except (FileNotFoundError, Corrupt):
            return "missing"
        finally:
            part.unlink(missing_ok=True)
        return sha.hexdigest()

    def _blob(self, file: FileEntry) -> Path:
        return self.root / file.sha256[:2] / file.sha256

    def _lock(self, file: FileEntry) -> Path:
        blob = self._blob(file)
        blob.parent.mkdir(parents=True, exist_ok=True)
        return blob.with_suffix(".lock")

    @staticmethod
    def _link(blob: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        try:
            os.link(blob, target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(blob, target)
            target.chmod(0o444)

    def require_space(self, files: Iterable[FileEntry]) -> None:
        """Lost where the disk has no room for those of the files that are not here yet."""
        need = self.missing(files)
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if need > free:
            raise Lost(
                "the disk is too small for the inputs of this stage",
                place=str(self.root),
                value=f"{need:,} bytes needed, {free:,} free",
                remedy="free some space, or set LUTHIER_HOME to a larger disk",
            )

    def missing(self, files: Iterable[FileEntry]) -> int:
        """The bytes of those of the files that are not here yet."""
        return sum(file.size for file in files if not self._intact(file))

    def trim(self) -> int:
        """Drop the least recently used files over `max_bytes`; one linked into a working folder stays. The bytes this frees."""
        stats = self._by_use()
        freed, excess = 0, sum(size for _, _, size, _ in stats) - self.max_bytes
        for _, path, _, _ in stats:
            if freed >= excess:
                break
            freed += self._drop(path)
        return freed

    def spare(self) -> int:
        """How many bytes `trim` would free now."""
        stats = self._by_use()
        excess, spare = sum(size for _, _, size, _ in stats) - self.max_bytes, 0
        for _, _, size, links in stats:
            if spare >= excess:
                break
            spare += size if links == 1 else 0
        return spare

    def _by_use(self) -> list[tuple[float, Path, int, int]]:
        blobs = [path for path in self.root.glob("??/*") if len(path.name) == 64]
        found = [(stat, path) for path in blobs if (stat := _stat(path)) is not None]
        return sorted((stat.st_atime, path, stat.st_size, stat.st_nlink) for stat, path in found)

    @staticmethod
    def _drop(blob: Path) -> int:
        """Remove a file that nobody uses; the bytes this frees."""
        try:
            with FileLock(blob.with_suffix(".lock"), timeout=0):
                found = _stat(blob)
                if found is None or found.st_nlink > 1:
                    return 0
                blob.unlink()
                return found.st_size
        except Timeout:
            return 0


def _stat(path: Path) -> os.stat_result | None:
    """None for a file that another process has dropped by now."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def verify(store: Store, receipt: Receipt) -> list[str]:
    """Read every byte of an artifact and its parts again; the keys of files that are gone or differ from the manifest."""
    manifest = store.manifest(receipt)
    prefix = layout.attempt(manifest.stage, manifest.key, manifest.attempt)
    bad = []
    for file in manifest.files:
        sha = hashlib.sha256()
        try:
            for block in store.objects.blocks(f"{prefix}/{file.path}"):
                sha.update(block)
        except (FileNotFoundError, Corrupt):
            sha.update(b"gone")
        if sha.hexdigest() != file.sha256:
            bad.append(f"{prefix}/{file.path}")
    return bad + [place for part in manifest.parts.values() for place in verify(store, part)]
