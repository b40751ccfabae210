"""Files that were made to hurt: each is an error or a bad row with its place, and no reader takes a gigabyte."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from infra.errors import BadData
from tasks.data import columns, formats
from tasks.data.layouts import Shape
from tasks.data.rows import Text

ROOT = Path(__file__).parents[4]
READ = """
import json, re, sys
from pathlib import Path
from infra.errors import BadData
from tasks.data.formats import read
from tasks.data.layouts import Shape

rows, reasons, error = 0, [], ""
try:
    for found in read(Path(sys.argv[1]), "file", Shape()):
        rows += 1
        if found.row is None and len(reasons) < 5:
            reasons.append(f"{found.line} {found.reason}")
except BadData as problem:
    error = f"{problem.what} {problem.value}"
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"rows": rows, "reasons": reasons, "error": error, "peak": peak * 1024}))
"""


def read_apart(path: Path) -> dict[str, Any]:
    """What a process of its own found in a file, and the most memory that it ever had."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["peak"] < 2**30, found
    return found


def sparse(path: Path, head: bytes, tail: bytes = b"") -> Path:
    """A file of a gigabyte, most of it NUL bytes that take no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(2**30)
        file.seek(2**30)
        file.write(tail)
    return path


def test_a_line_of_a_gigabyte_is_one_bad_row(tmp_path: Path) -> None:
    found = read_apart(sparse(tmp_path / "rows.jsonl", b'{"text": "a"}\n', b'\n{"text": "b"}\n'))
    assert (found["rows"], found["reasons"]) == (3, ["2 the line is longer than 32 MB"])


@pytest.mark.parametrize(
    ("name", "head", "error"),
    [
        ("rows.json", b'[{"text": "', "is not JSON"),
        ("rows.json", b"[", "is not JSON"),
        ("rows.csv", b"text\n", "the CSV cannot be read a row is longer than 32 MB"),
        ("rows.csv", b'text\n"', "the CSV cannot be read a row is longer than 32 MB"),
        ("rows.txt", b"text", "a document of more than 64 MB does not fit"),
    ],
)
def test_a_gigabyte_without_an_end_is_refused(tmp_path: Path, name: str, head: bytes, error: str) -> None:
    assert error in read_apart(sparse(tmp_path / name, head))["error"]


def test_a_row_over_many_lines_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'text\n"' + b'x\n","' * (12 * 2**20))
    assert "is a quote left open?" in read_apart(tmp_path / "rows.csv")["error"]


@pytest.mark.parametrize("line", [b"[" + b"[]," * (10 * 2**20) + b"[]]", b'["' + b'x","' * (8 * 2**20) + b'"]'])
def test_a_line_of_tiny_things_is_a_bad_row(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n' + line + b"\n")
    assert len(read_apart(tmp_path / "rows.jsonl")["reasons"]) == 1


def test_a_list_of_any_length_is_read_row_by_row(tmp_path: Path) -> None:
    row = json.dumps({"text": "word " * 20_000}) + ",\n"
    (tmp_path / "rows.json").write_text("[" + row * 1500 + '{"text": "last"}]')
    found = read_apart(tmp_path / "rows.json")
    assert (found["rows"], found["reasons"], found["error"]) == (1501, [], "")
    assert found["peak"] < 2**28


def _one_value_many_times(path: Path) -> None:
    value = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 200, "int32"), pyarrow.array(["x" * (20 * 2**20)]))
    pyarrow.parquet.write_table(pyarrow.table({"text": value}), path)


def _huge_values(path: Path) -> None:
    texts = ["small", "x" * (100 * 2**20), "small"]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, use_dictionary=False)


def _lists_of_nothing(path: Path) -> None:
    values = pyarrow.nulls(2**25 + 1, "int8")
    lists = pyarrow.ListArray.from_arrays([0, len(values)], values)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "more": lists}), path)


@pytest.mark.parametrize(
    ("make", "rows", "said"),
    [
        (_one_value_many_times, 200, ""),
        (_huge_values, 3, "2 the row is larger than 32 MB"),
        (_lists_of_nothing, 0, "a row group unpacks to far more than rows do"),
    ],
)
def test_a_small_parquet_file_of_much_data(tmp_path: Path, make: Callable[[Path], None], rows: int, said: str) -> None:
    make(tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 10 * 2**20
    found = read_apart(tmp_path / "rows.parquet")
    assert found["rows"] == rows
    assert said in found["error"] + " ".join(found["reasons"])


# Arrow


def stream(path: Path, table: pyarrow.Table, **options: Any) -> Path:
    with pyarrow.ipc.new_stream(str(path), table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=10)
    return path


def rows_of(path: Path) -> list[Any]:
    return [found.row or found.reason for found in formats.read(path, path.name, Shape())]


TABLE = pyarrow.table({"text": [f"row {number}" for number in range(35)]})
ROWS = [Text(f"row {number}") for number in range(35)]


def test_a_stream_that_ends_too_early_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    path = stream(tmp_path / "rows.arrow", TABLE)
    data = path.read_bytes()
    assert rows_of(path) == ROWS
    for length in range(0, len(data), 61):
        path.write_bytes(data[:length])
        with pytest.raises(BadData) as caught:
            rows_of(path)
        assert caught.value.place == "rows.arrow"


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.feather"
    pyarrow.feather.write_feather(TABLE, str(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadData, match="the Arrow file cannot be read"):
        rows_of(path)


def test_offsets_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    path = stream(tmp_path / "rows.arrow", pyarrow.table({"text": ["abcdefgh", "x"]}))
    data = path.read_bytes()
    offsets = b"".join(at.to_bytes(4, "little") for at in (0, 8, 9))
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, b"".join(at.to_bytes(4, "little") for at in (0, 2**30, 9))))
    with pytest.raises(BadData, match="the Arrow file cannot be read"):
        rows_of(path)


def test_values_that_share_their_bytes_are_read(tmp_path: Path) -> None:
    views = TABLE.cast(pyarrow.schema([("text", pyarrow.string_view())]))
    assert rows_of(stream(tmp_path / "views.arrow", views)) == ROWS
    coded = pyarrow.table({"text": TABLE["text"].dictionary_encode()})
    assert rows_of(stream(tmp_path / "coded.arrow", coded)) == ROWS
    huge = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1] * 300, "int32"), ["x" * (40 * 2**20), "y"])
    found = read_apart(stream(tmp_path / "huge.arrow", pyarrow.table({"text": huge})))
    assert found["reasons"][0] == "1 the row is larger than 32 MB"


def test_bytes_in_columns_that_are_not_utf8_are_one_bad_row(tmp_path: Path) -> None:
    raw = pyarrow.array([b"a", b"\xff", b"c"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": raw}), tmp_path / "rows.parquet")
    assert rows_of(tmp_path / "rows.parquet") == [Text("a"), "is not UTF-8 (byte 0: invalid start byte)", Text("c")]


def test_rows_around_a_large_one_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_LINE", 1000)
    rows = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]} for text in "abc"]
    rows[1]["messages"][0]["content"] = "x" * 2000
    found = rows_of(stream(tmp_path / "rows.arrow", pyarrow.Table.from_pylist(rows)))
    assert [isinstance(row, str) for row in found] == [False, True, False]
