"""The few things a store must be able to do, and the local folder that does them."""

import contextlib
import errno
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from infra.errors import Lost

PIECE = 256 * 2**10  # bytes read at once: they are hashed and written while a core's cache still has them
BLOCK = 16 * 2**20  # bytes; S3 parts may be 5 MiB to 5 GiB, and 10,000 of them make 156 GiB


class Objects(Protocol):
    """Objects under a root, by key. Every call returns or raises within the store's deadline."""

    uri: str

    def get(self, key: str) -> bytes | None:
        """A small object whole, or None where there is none."""

    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite atomically."""

    def create(self, key: str, data: bytes) -> bool:
        """Write only where nothing is: True if these bytes are now there by this call, False if others were first."""

    def size(self, key: str) -> int | None:
        """Bytes of an object, or None where there is none."""

    def list(self, prefix: str) -> dict[str, int]:
        """Sizes of all objects whose key starts with `prefix`."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """The object in order, in blocks of at most BLOCK bytes; FileNotFoundError where there is none."""

    def upload(self, path: Path, key: str) -> tuple[int, str]:
        """Store a file of any size in bounded memory; its size and sha256. Nothing appears if it fails midway."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""


def file_blocks(path: Path, most: int = PIECE, start: int = 0, stop: int = sys.maxsize) -> Iterator[bytes]:
    """A range of a file in order, in blocks of at most `most` bytes."""
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (block := file.read(min(most, stop - start))):
            yield block
            start += len(block)


def sha256_of(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file, read once in bounded memory."""
    size, sha = 0, hashlib.sha256()
    for block in file_blocks(path):
        size += len(block)
        sha.update(block)
    return size, sha.hexdigest()


class LocalObjects:
    """A folder with the semantics of an object store: a finished, fsynced temporary file is linked or moved into place."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = f"file://{self.root}"

    def get(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def put(self, key: str, data: bytes) -> None:
        self._replace(key, iter([data]))

    def create(self, key: str, data: bytes) -> bool:
        with self._told_when_full():
            temporary = self._finished(key, iter([data]))
            try:
                os.link(temporary, self.root / key)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
        _sync_folder(temporary.parent)
        return True

    def size(self, key: str) -> int | None:
        path = self.root / key
        return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> dict[str, int]:
        folder, _, start = prefix.rpartition("/")
        top = self.root / folder
        found = {}
        for parent, folders, files in os.walk(top):
            if Path(parent) == top:
                folders[:] = [name for name in folders if name.startswith(start)]
                files = [name for name in files if name.startswith(start)]  # noqa: PLW2901
            for path in (Path(parent) / name for name in files if not name.startswith(".")):
                with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                    found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return dict(sorted(found.items()))

    def blocks(self, key: str) -> Iterator[bytes]:
        return file_blocks(self.root / key)

    def upload(self, path: Path, key: str) -> tuple[int, str]:
        sha, size = hashlib.sha256(), 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for block in file_blocks(path):
                sha.update(block)
                size += len(block)
                yield block

        self._replace(key, hashed())
        return size, sha.hexdigest()

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        path = self.root / key
        path.unlink(missing_ok=True)
        for folder in path.relative_to(self.root).parents[:-1]:
            try:
                (self.root / folder).rmdir()
            except OSError:  # not empty, or somebody else was quicker
                return

    def _replace(self, key: str, blocks: Iterator[bytes]) -> None:
        with self._told_when_full():
            temporary = self._finished(key, blocks)
            try:
                os.replace(temporary, self.root / key)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_folder(temporary.parent)

    @contextlib.contextmanager
    def _told_when_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Lost(
                "the disk of the store is full", place=self.uri, remedy="free some space, then run again"
            ) from error

    def _finished(self, key: str, blocks: Iterator[bytes]) -> Path:
        path, file = self._temporary((self.root / key).parent)
        try:
            with file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise
        return path

    @staticmethod
    def _temporary(folder: Path) -> tuple[Path, BinaryIO]:
        # A leading dot: no key starts with one, so a torn temporary file is never listed.
        path = folder / f".part-{uuid.uuid4().hex}"
        for _ in range(100):
            _make_folder(folder)
            try:
                return path, path.open("xb")
            except FileNotFoundError:  # a delete() removed the folder, empty at that instant
                continue
        raise FileNotFoundError(f"{folder} vanishes again and again")


def _make_folder(folder: Path) -> None:
    """Create a folder and what is missing above it, so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last: fsync of a file alone does not keep its name through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
