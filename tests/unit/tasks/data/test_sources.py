"""Packed files are read as what is in them, and a damaged one or a bomb is refused by name."""

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

from infra.errors import BadData, BadRecipe, Lost
from infra.storage.objects import file_blocks, sha256_of
from infra.storage.s3 import S3Objects
from tasks.data import formats, packed, sources
from tests.unit.tasks.data.conftest import fetched

pytestmark = pytest.mark.usefixtures("luthier_home")


class Pack(NamedTuple):
    """A way to pack."""

    suffix: str
    make: Callable[[bytes], bytes]


PACK = [Pack(".gz", gzip.compress), Pack(".zst", zstandard.ZstdCompressor(write_checksum=True).compress)]
ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(2000)).encode()


def content(path: Path | str, scratch: Path) -> tuple[str, str, bytes]:
    (found,) = [(name, at.suffix, at.read_bytes()) for name, at in fetched([str(path)], "data.train_files", scratch)]
    assert not list(scratch.glob("*")), "copies are removed"
    return found


@pytest.mark.parametrize("pack", PACK, ids=[".gz", ".zst"])
def test_a_packed_file_is_what_is_in_it(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / f"Rows.JSONL{pack.suffix.upper()}"
    path.write_bytes(pack.make(ROWS[:9000]) + pack.make(ROWS[9000:]))  # as `cat` makes it of two
    assert content(path, tmp_path / "scratch") == (path.name, ".jsonl", ROWS)


@pytest.mark.parametrize("pack", PACK, ids=[".gz", ".zst"])
def test_blocks_end_anywhere(pack: Pack) -> None:
    data = pack.make(ROWS[:9000]) + pack.make(ROWS[9000:])
    blocks = (data[at : at + 7] for at in range(0, len(data), 7))
    assert b"".join(packed.unpacked(blocks, pack.suffix, "rows.jsonl")) == ROWS


@pytest.mark.s3
def test_a_packed_file_in_a_bucket(s3_root: str, tmp_path: Path) -> None:
    S3Objects(s3_root).put("rows.jsonl.gz", gzip.compress(ROWS))
    assert content(f"{s3_root}/rows.jsonl.gz", tmp_path / "scratch") == ("rows.jsonl.gz", ".jsonl", ROWS)


@pytest.mark.parametrize("pack", PACK, ids=[".gz", ".zst"])
@pytest.mark.parametrize("data", ["cut", b"plain", b""])
def test_a_damaged_one_is_refused(tmp_path: Path, data: str | bytes, pack: Pack) -> None:
    path = tmp_path / f"rows.jsonl{pack.suffix}"
    path.write_bytes(pack.make(ROWS)[:-9] if isinstance(data, str) else data)
    with pytest.raises(BadData, match="is no whole") as caught:
        content(path, tmp_path / "scratch")
    assert caught.value.place == path.name
    assert caught.value.value


@pytest.mark.parametrize("pack", PACK, ids=[".gz", ".zst"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack
) -> None:
    monkeypatch.setattr(packed, "UNPACKED", 2**20)
    path = tmp_path / f"rows.jsonl{pack.suffix}"
    path.write_bytes(pack.make(bytes(2**28)))
    made: list[int] = []
    blocks = packed.unpacked(file_blocks(path), pack.suffix, path.name)
    with pytest.raises(BadData, match="unpacks to far more"):
        made.extend(len(block) for block in blocks)
    assert max(made) <= 2**25 + 2**18


def test_what_is_packed_must_be_known_too(tmp_path: Path) -> None:
    (tmp_path / "rows.tar.gz").write_bytes(b"")
    with pytest.raises(BadRecipe, match="not known") as caught:
        content(tmp_path / "rows.tar.gz", tmp_path / "scratch")
    assert ".gz or .zst behind" in caught.value.remedy


@pytest.mark.parametrize("name", ["rows.parquet.gz", "rows.arrow.zst"])
def test_what_is_packed_inside_is_not_packed_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadRecipe, match="not known"):
        sources.files([str(tmp_path)], "data.train_files")


def test_pages_about_the_rows_are_no_rows(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE", "rows.jsonl", ".cache/x.lock", "deep/Readme.md", "deep/story.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = sources.files([str(tmp_path)], "data.train_files")
    assert [Path(file.uri).name for file in found] == ["story.md", "rows.jsonl"]
    (named,) = sources.files([str(tmp_path / "README.md")], "data.train_files")
    assert named.uri.endswith("README.md")


def test_every_kind_of_file_has_a_reader() -> None:
    assert set(sources.SUFFIXES) == set(formats.FORMATS)


def test_a_pin_is_content_and_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(ROWS))
    (found,) = sources.pinned([str(tmp_path)], "data.train_files")
    assert (found.short, found.kind, found.uri) == ("a.jsonl.gz", ".jsonl", str(tmp_path / "a.jsonl.gz"))
    assert (found.size, found.sha256) == sha256_of(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_that_is_not_what_was_pinned_is_lost_and_read_anew(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(ROWS))
    (found,) = sources.pinned([str(tmp_path)], "data.train_files")
    other = dataclasses.replace(found, sha256="0" * 64)  # as if the disk had rotted since
    with pytest.raises(Lost, match="changed while it was read"), sources.local(other, tmp_path / "scratch"):
        raise AssertionError("it is not handed out")
    assert not list((tmp_path / "scratch").glob("*"))


def test_a_file_that_changes_while_it_is_read_is_lost(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    (found,) = sources.pinned([str(tmp_path)], "data.train_files")
    with pytest.raises(Lost, match="changed while it was read"), sources.local(found, tmp_path) as path:
        path.write_bytes(ROWS)
