"""Learning that nothing is new costs a listing; a change that a listing can show is never overlooked."""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import Corrupt, Lost
from infra.storage import snapshots, sources
from infra.storage.s3 import S3Objects

pytestmark = pytest.mark.usefixtures("luthier_home")


class Counted:
    """Counts the bytes that are read of source files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self._blocks = 0, sources.blocks
        monkeypatch.setattr(sources, "blocks", self._counted)

    def _counted(self, name: str, stamp: str = "") -> Iterator[bytes]:
        for block in self._blocks(name, stamp):
            self.bytes += len(block)
            yield block


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(snapshots, "RACY_NS", 0)
    return Counted(monkeypatch)


def hashes(name: Path | str) -> list[str]:
    return snapshots.sha256(sources.listed(str(name), "data.train_files"))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "rows"
    made.mkdir()
    (made / "a").write_bytes(b"first")
    (made / "b").write_bytes(b"second")
    return made


def test_what_did_not_change_is_not_read_again(folder: Path, read: Counted) -> None:
    assert hashes(folder) == [sha(b"first"), sha(b"second")]
    assert read.bytes == 11
    (folder / "c").write_bytes(b"new")
    assert hashes(folder) == [sha(b"first"), sha(b"second"), sha(b"new")]
    assert read.bytes == 14


def test_other_bytes_of_the_same_size_and_date_are_seen(folder: Path, read: Counted) -> None:
    hashes(folder)
    before = (folder / "a").stat()
    (folder / "a").write_bytes(b"FIRST")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes(folder / "a") == [sha(b"FIRST")]
    shutil.copy2(folder / "a", folder / "copy")
    (folder / "copy").write_bytes(b"third")
    os.utime(folder / "copy", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "copy").replace(folder / "a")
    assert hashes(folder / "a") == [sha(b"third")]


def test_a_file_written_a_moment_ago_is_not_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Counted(monkeypatch)
    hashes(folder)
    hashes(folder)
    assert read.bytes == 22
    monkeypatch.setattr(snapshots, "RACY_NS", 10**8)
    time.sleep(0.2)
    hashes(folder)
    hashes(folder)
    assert read.bytes == 33


def test_a_file_that_changes_while_it_is_read_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = sources.blocks

    def changing(name: str, stamp: str = "") -> Iterator[bytes]:
        yield from blocks(name, stamp)
        Path(name).write_bytes(b"other")

    monkeypatch.setattr(sources, "blocks", changing)
    with pytest.raises(Lost, match="changed while it was read"):
        hashes(folder / "a")


def test_what_is_forgotten_is_read_anew(folder: Path, read: Counted) -> None:
    hashes(folder / "a")
    snapshots.forget(sources.stamped(folder / "a"))
    hashes(folder / "a")
    assert read.bytes == 10


def test_a_damaged_memory_costs_time_only(folder: Path, luthier_home: Path, read: Counted) -> None:
    luthier_home.mkdir(parents=True)
    (luthier_home / "snapshots.db").write_bytes(b"no database at all" * 100)
    assert hashes(folder / "a") == hashes(folder / "a") == [sha(b"first")]
    assert read.bytes == 10


def test_a_memory_without_room_costs_time_only(folder: Path, luthier_home: Path, read: Counted) -> None:
    hashes(folder / "a")
    with sqlite3.connect(luthier_home / "snapshots.db") as memory:
        memory.execute("CREATE TRIGGER full BEFORE INSERT ON snapshots BEGIN SELECT RAISE(ABORT, 'full'); END")
    assert hashes(folder / "b") == hashes(folder / "b") == [sha(b"second")]


@pytest.mark.s3
def test_objects_are_read_once_by_all_machines_that_share_a_store(
    s3_root: str, read: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = S3Objects(s3_root)
    bucket.put("rows/a.jsonl", b"first")
    bucket.in_parts(_file(tmp_path, b"in parts"), "rows/b.jsonl")
    monkeypatch.setenv("LUTHIER_STORE", f"{s3_root}/store")
    for machine in ("one", "two"):
        monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / machine))
        assert hashes(f"{s3_root}/rows/") == [sha(b"first"), sha(b"in parts")]
        assert read.bytes == 13
    bucket.put("rows/a.jsonl", b"FIRST")
    assert hashes(f"{s3_root}/rows/")[0] == sha(b"FIRST")
    assert read.bytes == 18
    hashes(f"{s3_root}/rows/")
    assert read.bytes == 18


@pytest.mark.s3
def test_an_object_replaced_between_listing_and_reading_is_lost(s3_root: str, read: Counted) -> None:
    bucket = S3Objects(s3_root)
    bucket.put("a", b"first")
    listed = sources.listed(f"{s3_root}/a", "data.train_files")
    bucket.put("a", b"FIRST")
    with pytest.raises(Lost, match="changed while it was read"):
        snapshots.sha256(listed)


@pytest.mark.s3
def test_an_etag_that_stands_for_two_contents_is_refused(
    s3_root: str, read: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = S3Objects(s3_root)
    bucket.put("a", b"first")
    (file,) = sources.listed(f"{s3_root}/a", "data.train_files")
    snapshots.sha256([file])
    snapshots._share(file, sha(b"first"))  # another machine that learned the same
    with pytest.raises(Corrupt, match="one ETag"):
        snapshots._share(file, sha(b"other"))
    snapshots.forget(file)
    snapshots._share(file, sha(b"other"))


@pytest.mark.parametrize(
    ("etag", "trusted"),
    [
        (f'"{"0f" * 16}"', True),
        (f'"{"0f" * 16}-12"', True),
        (f'W/"{"0f" * 16}"', False),
        ('"5f3a-18c2d0"', False),
        ("", False),
    ],
)
def test_only_etags_that_follow_from_content_are_trusted(etag: str, trusted: bool) -> None:
    assert bool(sources._trusted(etag)) == trusted


def test_what_has_no_stamp_is_read_each_time(folder: Path, read: Counted) -> None:
    file = sources.Listed(str(folder / "a"), 5, "")
    with pytest.raises(Lost):  # its stamp is another
        snapshots.sha256([file])


def _file(folder: Path, data: bytes) -> Path:
    (folder / "file").write_bytes(data)
    return folder / "file"
