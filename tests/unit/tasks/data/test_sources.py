"""Packed files are read as what is in them, and a damaged one or a bomb is refused by name."""

import gzip
import json
from pathlib import Path

import pytest

from infra.errors import BadData, BadRecipe
from infra.storage.s3 import S3Objects
from tasks.data import sources

ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(2000)).encode()


def content(path: Path | str, scratch: Path) -> tuple[str, str, bytes]:
    (found,) = [
        (name, at.suffix, at.read_bytes()) for name, at in sources.fetched([str(path)], "data.train_files", scratch)
    ]
    assert not list(scratch.glob("*")), "copies are removed"
    return found


def test_a_packed_file_is_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "Rows.JSONL.GZ"
    path.write_bytes(gzip.compress(ROWS[:9000]) + gzip.compress(ROWS[9000:]))  # as `cat` makes it of two
    assert content(path, tmp_path / "scratch") == ("Rows.JSONL.GZ", ".jsonl", ROWS)


def test_blocks_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(ROWS[:9000]) + gzip.compress(ROWS[9000:]))
    monkeypatch.setattr(sources, "BLOCK", 100)
    data = path.read_bytes()
    monkeypatch.setattr(sources.sources, "blocks", lambda _: (data[at : at + 7] for at in range(0, len(data), 7)))
    assert b"".join(sources._unpacked(str(path), "rows.jsonl.gz")) == ROWS


@pytest.mark.s3
def test_a_packed_file_in_a_bucket(s3_root: str, tmp_path: Path) -> None:
    S3Objects(s3_root).put("rows.jsonl.gz", gzip.compress(ROWS))
    assert content(f"{s3_root}/rows.jsonl.gz", tmp_path / "scratch") == ("rows.jsonl.gz", ".jsonl", ROWS)


@pytest.mark.parametrize(
    ("data", "said"),
    [(gzip.compress(ROWS)[:-9], "its end is missing"), (b"plain", "incorrect header"), (b"", "its end")],
)
def test_a_damaged_one_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(data)
    with pytest.raises(BadData, match="is no whole") as caught:
        content(tmp_path / "rows.jsonl.gz", tmp_path / "scratch")
    assert caught.value.place == "rows.jsonl.gz"
    assert said in caught.value.value


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "UNPACKED", 2**20)
    monkeypatch.setattr(sources, "BLOCK", 2**16)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(bytes(2**28)))
    with pytest.raises(BadData, match="unpacks to far more"):
        content(tmp_path / "rows.jsonl.gz", tmp_path / "scratch")
    assert sum(path.stat().st_size for path in (tmp_path / "scratch").iterdir()) < 2**27


def test_what_is_packed_must_be_known_too(tmp_path: Path) -> None:
    (tmp_path / "rows.tar.gz").write_bytes(b"")
    with pytest.raises(BadRecipe, match="not known") as caught:
        content(tmp_path / "rows.tar.gz", tmp_path / "scratch")
    assert ".gz behind" in caught.value.remedy
