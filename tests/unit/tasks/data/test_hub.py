"""Data sets on a hub: pinned by commit, only files of rows, nothing asked that is known; against a hub on loopback."""

import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from infra.errors import BadData, BadRecipe, Corrupt, Unreachable
from infra.storage import hub_files
from infra.storage.sources import resolve
from tasks.data import formats, sources
from tasks.data.config import DataConfig, Source
from tasks.data.layouts import Shape
from tasks.data.rows import Text
from tests.hub import Hub
from tests.hub import hub as running
from tests.unit.tasks.data.conftest import fetched

ID = "makers/rows"
FIELD = "data.train_files"


def parquet(*texts: str) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": list(texts)}), file)
    return file.getvalue()


FILES = {
    ".gitattributes": b"",
    "README.md": b"# Rows\n",
    "rows.py": b"raise SystemExit('a loading script must never run')\n",
    "data/train-0.parquet": parquet("a", "b"),
    "data/test-0.parquet": parquet("c"),
    "data/notes.txt": b"about",
    "more/rows.jsonl": b'{"text": "d"}\n',
}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        hub_files._commit.cache_clear()
        yield server


def add(server: Hub, files: dict[str, bytes] = FILES, **access: Any) -> str:
    hub_files._commit.cache_clear()
    return server.add(f"datasets/{ID}", files, **access)


def names(name: str) -> list[str]:
    return [file.uri.rpartition("@")[2].partition("/")[2] for file in sources.files([name], FIELD)]


def rows(name: str, scratch: Path) -> list[Any]:
    return [
        row.row or row.reason
        for short, path in fetched([name], FIELD, scratch)
        for row in formats.read(path, short, Shape())
    ]


def test_a_name_with_a_scheme_is_no_path(tmp_path: Path) -> None:
    assert resolve(f"hf://datasets/{ID}", tmp_path) == f"hf://datasets/{ID}"


def test_a_branch_becomes_a_commit_that_is_said(there: Hub, caplog: pytest.LogCaptureFixture) -> None:
    first = add(there)
    with caplog.at_level(logging.INFO):
        named = DataConfig(train_files=[Source(files=[f"hf://datasets/{ID}/data"]), "x"])
        pinned = [Source(files=[f"hf://datasets/{ID}@{first}/data"]), "x"]
        assert sources.at_commit(named).train_files == pinned
    assert f"main is commit {first}" in caplog.text
    second = add(there, FILES | {"data/train-1.parquet": parquet("e")})
    named = DataConfig(train_files=[f"hf://datasets/{ID}@main"])
    assert sources.at_commit(named).train_files == [f"hf://datasets/{ID}@{second}"]
    assert len(names(f"hf://datasets/{ID}@{first}")) == 2
    assert len(names(f"hf://datasets/{ID}")) == 3


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ["data/test-0.parquet", "data/train-0.parquet"]),
        ("/data/train-*", ["data/train-0.parquet"]),
        ("/**/*.jsonl", ["more/rows.jsonl"]),
        ("/more", ["more/rows.jsonl"]),
        ("/more/rows.jsonl", ["more/rows.jsonl"]),
        ("/data/notes.txt", ["data/notes.txt"]),
    ],
)
def test_a_name_means_files_of_rows(there: Hub, path: str, found: list[str]) -> None:
    add(there)
    assert names(f"hf://datasets/{ID}{path}") == found


def test_without_a_folder_data_the_top_folder_is_meant(there: Hub) -> None:
    add(there, {"README.md": b"", "dataset_infos.json": b"{}", "train.jsonl": b"{}", "deep/x.jsonl": b"{}"})
    assert names(f"hf://datasets/{ID}") == ["train.jsonl"]


def test_rows_are_read_and_only_what_is_named_is_fetched(there: Hub, tmp_path: Path) -> None:
    add(there)
    assert rows(f"hf://datasets/{ID}/data/train-0.parquet", tmp_path) == [Text("a"), Text("b")]
    assert rows(f"hf://datasets/{ID}/more/rows.jsonl", tmp_path) == [Text("d")]
    fetched = {asked.rpartition("/")[2] for asked in there.requests if "/resolve/" in asked}
    assert fetched == {"train-0.parquet", "rows.jsonl"}


def test_a_pin_of_large_files_costs_a_listing(there: Hub) -> None:
    add(there)
    pins = sources.pinned([f"hf://datasets/{ID}"], FIELD)
    assert pins[1].sha256 == hashlib.sha256(FILES["data/train-0.parquet"]).hexdigest()
    assert not any("/resolve/" in asked for asked in there.requests)


def test_a_commit_whose_files_are_known_needs_no_hub(there: Hub, tmp_path: Path) -> None:
    name = f"hf://datasets/{ID}@{add(there)}"
    before = rows(name, tmp_path), rows(f"{name}/more", tmp_path)
    asked = len(there.requests)
    assert (rows(name, tmp_path), rows(f"{name}/more", tmp_path)) == before
    assert len(there.requests) == asked


def test_a_private_or_gated_one_needs_a_token(there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(there, private=True)
    with pytest.raises(BadData, match="no such data set, or it is private") as caught:
        names(f"hf://datasets/{ID}")
    assert (caught.value.place, caught.value.value) == (FIELD, f"{there.endpoint}/datasets/{ID}")
    there.repos[f"datasets/{ID}"].private, there.repos[f"datasets/{ID}"].gated = False, True
    with pytest.raises(BadData, match="the data set is gated") as caught:
        rows(f"hf://datasets/{ID}", tmp_path)
    assert "HF_TOKEN" in caught.value.remedy
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert len(rows(f"hf://datasets/{ID}", tmp_path)) == 3


def test_a_loading_script_is_not_run(there: Hub) -> None:
    add(there, {"rows.py": FILES["rows.py"], "README.md": b""})
    with pytest.raises(BadData, match="a loading script is not run") as caught:
        names(f"hf://datasets/{ID}")
    assert "refs/convert/parquet" in caught.value.remedy


def test_a_file_that_is_not_what_the_hub_says_is_refused_and_fetched_anew(there: Hub, tmp_path: Path) -> None:
    name = f"hf://datasets/{ID}@{add(there)}/data/train-0.parquet"
    rows(name, tmp_path)
    (blob,) = [path for path in (tmp_path / "cache").rglob("blobs/*") if path.is_file()]
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    with pytest.raises(Corrupt, match="did not arrive whole"):
        rows(name, tmp_path)
    assert rows(name, tmp_path) == [Text("a"), Text("b")]


@pytest.mark.parametrize("name", ["hf://makers/rows", "hf://datasets/rows", "hf://datasets/a/../b", "hf://spaces/a/b"])
def test_other_names_of_a_hub_are_refused(name: str) -> None:
    with pytest.raises(BadRecipe, match="no data set on a hub") as caught:
        sources.files([name], FIELD)
    assert caught.value.place == FIELD


def test_what_is_not_there_is_refused(there: Hub) -> None:
    add(there)
    with pytest.raises(BadRecipe, match="nothing matches"):
        sources.files([f"hf://datasets/{ID}/nothing"], FIELD)
    with pytest.raises(BadData, match="no such revision"):
        sources.files([f"hf://datasets/{ID}@v9"], FIELD)


def test_a_hub_that_is_away_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_files._commit.cache_clear()
    with pytest.raises(Unreachable):
        sources.files([f"hf://datasets/{ID}"], FIELD)
