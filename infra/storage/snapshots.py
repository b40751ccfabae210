"""What source files hold, remembered by what a listing says of them: where nothing changed, nothing is read."""

import contextlib
import hashlib
import json
import logging
import sqlite3
import time
from functools import lru_cache
from pathlib import Path

from infra import settings
from infra.errors import Corrupt, Lost, StoreRefused
from infra.frozen import canonical, digest
from infra.storage import layout, sources
from infra.storage.objects import Objects
from infra.storage.sources import Listed
from infra.storage.store import open_objects

log = logging.getLogger(__name__)

RACY_NS = 2 * 10**9  # a file written so lately may be written again within its clock's tick (2 s on FAT, Git's "racy")
_TABLE = "CREATE TABLE IF NOT EXISTS snapshots (uri TEXT PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT)"


def sha256(files: list[Listed]) -> list[str]:
    """The sha256 (hex) of each file. Read is only what was never read in this state, by this machine or, of a bucket,
    by any machine that shares the store.

    Lost where a file changes meanwhile. Whoever reads the file later must compare (`forget`): a disk's bytes can rot
    and a clock can be set back, and neither shows in a listing.
    """
    with _memory() as memory:
        return [_known(memory, file) or _learned(memory, file) for file in files]


def forget(file: Listed) -> None:
    """Have a file read anew next time: it was found to hold something else."""
    with _memory() as memory:
        memory.remove(file)
    if _is_shared(file):
        _store().delete(_key(file))


def _known(memory: "_Memory", file: Listed) -> str | None:
    if file.stamp.startswith(sources.SHA256):
        return file.stamp.removeprefix(sources.SHA256)
    here = memory.get(file)
    if here or not _is_shared(file):
        return here
    data = _store().get(_key(file))
    if data is None:
        return None
    found = str(json.loads(data)["sha256"])
    memory.put(file, found)
    return found


def _learned(memory: "_Memory", file: Listed) -> str:
    started = time.time_ns()
    found = _read(file)
    if file.stamp and file.changed < started - RACY_NS:
        if _is_shared(file):
            _share(file, found)
        memory.put(file, found)
    return found


def _read(file: Listed) -> str:
    hashed = hashlib.sha256()
    try:
        for block in sources.blocks(file.uri, file.stamp):
            hashed.update(block)
        same = "://" in file.uri or sources.stamped(Path(file.uri)) == file
    except (Corrupt, FileNotFoundError):
        same = False
    if not same:
        raise Lost("a source file changed while it was read", place=file.uri, remedy="run it once it rests")
    return hashed.hexdigest()


def _share(file: Listed, found: str) -> None:
    """Tell the other machines; who may only read the store keeps it to himself."""
    record = canonical({"etag": file.stamp, "sha256": found, "size": file.size, "uri": file.uri})
    try:
        if _store().create(_key(file), record) or _store().get(_key(file)) == record:
            return
    except StoreRefused as error:
        log.warning("what %s holds is not shared: %s", file.uri, error.what)
        return
    raise Corrupt(
        "one ETag stands for two contents",
        place=file.uri,
        value=file.stamp,
        remedy="the object changed while it was read, or its server's ETags mean nothing: copy it to another key",
    )


def _is_shared(file: Listed) -> bool:
    return bool(file.stamp) and file.uri.startswith("s3://")


def _key(file: Listed) -> str:
    return layout.snapshot(digest([file.uri, file.size, file.stamp]))


def _store() -> Objects:
    known = settings.load()
    return _opened(known.root(), known.store_deadline_s)


@lru_cache(maxsize=8)
def _opened(root: str, deadline_s: float) -> Objects:
    return open_objects(root, deadline_s)


class _Memory:
    """This machine's memory, written once a second: a commit takes as long as the hash of many small files.

    One that cannot be used is replaced by one that lasts as long as the question.
    """

    def __init__(self, path: Path) -> None:
        self._new: list[tuple[str, int, str, str]] = []
        self._written = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path, timeout=30)
            self._rows.execute(_TABLE)
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("%s cannot be used (%s), so files are read again: remove it if that stays so", path, error)
            self._rows = sqlite3.connect(":memory:")
            self._rows.execute(_TABLE)

    def get(self, file: Listed) -> str | None:
        """The hash of a file in this state."""
        asked = (file.uri, file.size, file.stamp)
        found = self._rows.execute(
            "SELECT sha256 FROM snapshots WHERE uri = ? AND size = ? AND stamp = ?", asked
        ).fetchone()
        return None if found is None else str(found[0])

    def put(self, file: Listed, sha256: str) -> None:
        """Remember it, in place of what the file held before."""
        self._new.append((file.uri, file.size, file.stamp, sha256))
        if time.monotonic() > self._written + 1:
            self._write()

    def remove(self, file: Listed) -> None:
        """Forget the file in every state."""
        with self._rows:
            self._rows.execute("DELETE FROM snapshots WHERE uri = ?", (file.uri,))

    def _write(self) -> None:
        new, self._new, self._written = self._new, [], time.monotonic()
        try:
            with self._rows:
                self._rows.executemany("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", new)
        except sqlite3.DatabaseError as error:  # a full or read-only disk
            log.warning("what source files hold is not remembered: %s", error)

    def close(self) -> None:
        """Write what is new."""
        if self._new:
            self._write()
        self._rows.close()


def _memory() -> contextlib.closing[_Memory]:
    return contextlib.closing(_Memory(settings.load().home.absolute() / "snapshots.db"))
