"""The few things a store must be able to do, and the local folder that does them."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

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


def file_blocks(path: Path) -> Iterator[bytes]:
    """A file in order, in blocks of at most BLOCK bytes."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


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
        os.replace(self._finished(key, iter([data])), self.root / key)

    def create(self, key: str, data: bytes) -> bool:
        temporary = self._finished(key, iter([data]))
        try:
            os.link(temporary, self.root / key)
            return True
        except FileExistsError:
            return False
        finally:
            temporary.unlink()

    def size(self, key: str) -> int | None:
        path = self.root / key
        return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> dict[str, int]:
        folder = (self.root / prefix).parent if not prefix.endswith("/") else self.root / prefix
        found = {}
        for path in sorted(folder.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not path.name.startswith(".") and path.is_file():
                found[key] = path.stat().st_size
        return found

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

        os.replace(self._finished(key, hashed()), self.root / key)
        return size, sha.hexdigest()

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def _finished(self, key: str, blocks: Iterator[bytes]) -> Path:
        folder = (self.root / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        # A leading dot: no key starts with one, so a torn temporary file is never listed.
        handle, name = tempfile.mkstemp(dir=folder, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(name)
            raise
        return Path(name)
