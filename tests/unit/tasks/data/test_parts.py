"""A file is cut by what it holds and by nothing else, and its parts together are the file, row by row."""

import json
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import formats, lines, reading
from tasks.data.layouts import Shape
from tasks.data.reading import Part, grouped, step
from tasks.data.rows import Found, Text


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALLEST", 64)


def rows_of(path: Path, part: Part | None) -> tuple[list[Found], int]:
    one = formats.read(path, path.name, Shape(), part=part)
    return list(one), one.lines


def together(path: Path) -> list[Found]:
    """All rows, with the line numbers that the counts of the parts add up to."""
    found, before = [], 0
    for part in formats.parts(path, path.name):
        rows, count = rows_of(path, part)
        found += [Found(row.line + before, row.row, row.reason, row.sample) for row in rows]
        before += count
    return found


def test_the_size_of_a_part_follows_from_the_size_of_the_file() -> None:
    sizes = [2**20, 2**29, 2**29 + 1, 3 * 2**30, 2**34, 2**40]
    assert [step(size) >> 20 for size in sizes] == [8, 8, 16, 64, 256, 256]


@given(st.lists(st.sampled_from(["", " ", "{", '"x"', '{"text": "é"}', '{"text": "%s"}' % ("long " * 40)]), min_size=1))
def test_parts_of_lines_are_the_file(tmp_path_factory: pytest.TempPathFactory, content: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    first = '{"text": "first"}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SMALLEST", 64)
        for end in ("", "\n", "\r\n"):
            path.write_bytes(("\n".join([first, *content]) + end).encode())
            parts = formats.parts(path, path.name)
            assert [part.start for part in parts] + [path.stat().st_size] == [0, *(part.stop for part in parts)]
            assert together(path) == rows_of(path, None)[0]


@pytest.mark.usefixtures("small")
def test_a_line_longer_than_a_part_belongs_to_where_it_starts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["a", "b" * 1000, "c", "d" * 50, "e"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert len(formats.parts(path, path.name)) == 3
    assert [row.row for row in together(path)] == [Text(text) for text in texts]


@pytest.mark.usefixtures("small")
def test_a_file_that_grows_keeps_its_first_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "some row"}\n' * 50)
    before = formats.parts(path, path.name)
    with path.open("a") as file:
        file.write('{"text": "another"}\n' * 20)
    after = formats.parts(path, path.name)
    ranges = [(part.start, part.stop) for part in before[:-1]]
    assert ranges == [(part.start, part.stop) for part in after][: len(ranges)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".feather", "stream.arrow"])
def test_parts_of_columns_are_the_file(tmp_path: Path, kind: str) -> None:
    path, table = tmp_path / f"rows{kind}", pyarrow.table({"text": [f"row {number}" for number in range(100)]})
    if kind == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=7)
    elif kind == ".feather":
        pyarrow.feather.write_feather(table, str(path), compression="zstd", chunksize=7)
    else:
        make = pyarrow.ipc.new_file if kind == ".arrow" else pyarrow.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    parts = formats.parts(path, path.name)
    assert len(parts) > 2
    assert all(part.of == 15 for part in parts)
    assert together(path) == [Found(number + 1, Text(f"row {number}")) for number in range(100)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["rows.json", "rows.csv", "rows.tsv", "rows.txt", "rows.md"])
def test_other_kinds_are_one_part(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x" * 1000)
    (part,) = formats.parts(tmp_path / name, name)
    assert part.whole


def test_groups_hold_what_was_asked_for_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALLEST", 10)
    assert grouped([4, 4, 4, 50, 1]) == [Part(0, 3, 5), Part(3, 4, 5), Part(4, 5, 5)]
    assert grouped([]) == [Part(0, 0, 0)]


def test_a_reading_says_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n\n')
    one = formats.read(path, path.name, Shape())
    shares = [(row.line, round(one.share, 2)) for row in one]
    assert shares == [(1, 0.47), (3, 0.97)]
    assert (one.lines, one.share) == (4, 1.0)


def test_what_the_quick_parser_refuses_the_slower_one_decides(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"text": "a"}\n{"text": "b", "score": NaN}\n\ufeff{"text": "c"}\n{"text": "\\ud800"}\n')
    assert [row.row for row in rows_of(path, None)[0]] == [Text("a"), Text("b"), Text("c"), Text("\ud800")]


def test_a_line_of_brackets_is_not_made_into_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MANY", 100)
    monkeypatch.setattr(lines, "MAX_OBJECTS", 100)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n[' + "[]," * 200 + "[]]\n")
    assert rows_of(path, None)[0][1].reason == "is not JSON (it holds too many lists and objects)"
