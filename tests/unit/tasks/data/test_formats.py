"""Every row comes with its place; what cannot be read says why, and nothing brings the reader down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from infra.errors import BadData
from tasks.data import formats, lines
from tasks.data.layouts import Shape
from tasks.data.reading import place
from tasks.data.rows import Chat, Found, Plain, Text

ASK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
GOOD = {"messages": ASK}


def read(path: Path, shape: Shape | None = None) -> list[Found]:
    return list(formats.read(path, path.name, shape or Shape()))


def test_rows_carry_their_line(write: Callable[..., Path]) -> None:
    found = read(write([GOOD, "", {"messages": ASK[::-1]}]))
    assert [item.line for item in found] == [1, 3]
    assert found[0].row == Chat(ASK)


def test_plain_text_and_conversations_are_told_apart(write: Callable[..., Path]) -> None:
    plain, chat = read(write([{"prompt": "2+2=", "completion": "4"}, {"prompt": ASK[:1], "completion": ASK[1:]}]))
    assert plain.row == Plain("2+2=", "4")
    assert chat.row == Chat(ASK, given=1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ("[" * 100_000, "is not JSON"),
        ("7", "a row must be an object, not int"),
        ('{"label": "x"}', "has the columns label; accepted: messages"),
        ('{"messages": "x"}', "messages must be a list, not str"),
        ('{"messages": []}', "does not end with an assistant message"),
        ('{"messages": [3]}', "message 0 must be an object with role and content, not int"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "does not end with an assistant message"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "starts with an answer to nothing"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "message 0 is from tool"),
        ('{"messages": [{"role": "user", "content": 5}]}', "content must be a string, not int"),
        ('{"messages": [{"role": "user", "text": "x"}]}', "message 0 has no content, but the keys ['role', 'text']"),
        ('{"messages": [{"role": "assistant", "content": " "}]}', "the answer is empty"),
        ('{"prompt": "x", "completion": ""}', "the completion is empty"),
        ('{"prompt": "x", "completion": []}', "must both be strings or both be lists"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(write: Callable[..., Path], line: str, reason: str) -> None:
    _, found = read(write([GOOD, line]))
    assert found.row is None
    assert found.line == 2
    assert reason in found.reason


def test_bytes_that_are_not_utf8_are_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe\n" + json.dumps(GOOD).encode())
    assert [item.reason for item in read(path)] == ["", "is not UTF-8 (byte 0: invalid start byte)", ""]


def test_an_endless_line_is_skipped_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 2**20)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"x" * (5 * 2**20) + b"\n" + json.dumps(GOOD).encode())
    first, second = read(path)
    assert first.reason == "the line is longer than 1 MB"
    assert second.line == 2
    assert second.row == Chat(ASK)


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    for name, text in [
        ("a.jsonl", json.dumps(GOOD)),
        ("a.json", json.dumps([GOOD])),
        ("a.csv", "prompt,completion\nq,a\n"),
    ]:
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert [item.reason for item in read(tmp_path / name)] == [""]


def test_csv_places_are_the_line_where_a_row_starts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"two\nlines",a\nq,b\nonly one\n', encoding="utf-8")
    first, second, third = read(path)
    assert (first.line, second.line, third.line) == (2, 4, 5)
    assert first.row == Plain("two\nlines", "a")
    assert third.reason == "has 1 fields, the header has 2"


def test_keys_that_arrow_filled_with_null_are_not_there(tmp_path: Path) -> None:
    rows = [GOOD, {"messages": [{"role": "user", "content": "q", "name": None}, ASK[1]]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert [item.row for item in read(tmp_path / "rows.parquet")] == [Chat(ASK), Chat(ASK)]


def _file(name: str, data: bytes) -> Any:
    return pytest.param(name, data, id=f"{name}-{data[:12]!r}")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        _file("rows.jsonl", b""),
        _file("rows.jsonl", b"\n \n"),
        _file("rows.json", b"[]"),
        _file("rows.csv", b""),
        _file("rows.csv", b"prompt,completion\n"),
    ],
)
def test_an_empty_file_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadData, match="the file has no rows") as caught:
        read(tmp_path / name)
    assert caught.value.place == name


@pytest.mark.parametrize(
    ("name", "data", "what", "place"),
    [
        ("rows.jsonl", b'{"label": 1}\n', "the columns label; accepted: messages", "rows.jsonl:1"),
        ("rows.jsonl", b'{"messages": [], "text": ""}\n', r"several layouts \(messages, text\)", "rows.jsonl:1"),
        ("rows.json", b'[{"question": "x"}]', "the columns question", "rows.json:1"),
        ("rows.csv", b"question,answer\nx,y\n", "the columns answer, question", "rows.csv:1"),
        ("rows.csv", b"prompt,completion,prompt\nx,y,z\n", "two columns of one name", "rows.csv:1"),
    ],
)
def test_columns_that_are_no_layout_are_refused_with_what_is_accepted(
    tmp_path: Path, name: str, data: bytes, what: str, place: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadData, match=what) as caught:
        read(tmp_path / name)
    assert caught.value.place == place
    assert "data.format" in caught.value.remedy
    assert "data.columns" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "data", "what", "place"),
    [
        ("rows.json", b'[{"messages": []},\n{]', "is not JSON", "rows.json:2"),
        ("rows.json", b"\xff", "is not UTF-8", "rows.json"),
        ("rows.json", b'{"messages": []}', "the file holds no list of rows", "rows.json"),
        ("rows.csv", b"prompt,completion\nq,a\nq,\xff\n", "the CSV cannot be read", "rows.csv:"),
        ("rows.csv", b'prompt,completion\nq,a\nq,"open\n', "the CSV cannot be read", "rows.csv:3"),
        ("rows.parquet", b"PAR1 but torn", "the Parquet file cannot be read", "rows.parquet"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(
    tmp_path: Path, name: str, data: bytes, what: str, place: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadData, match=what) as caught:
        read(tmp_path / name)
    assert caught.value.place.startswith(place)
    assert caught.value.remedy


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("\ufeffCall me Ishmael.\n".encode())
    (tmp_path / "torn.txt").write_bytes(b"\xff")
    (found,) = read(tmp_path / "book.txt")
    assert (place("book.txt", ".txt", found.line), found.row) == ("book.txt", Text("Call me Ishmael.\n"))
    (torn,) = read(tmp_path / "torn.txt")
    assert torn.reason.startswith("is not UTF-8")


def test_conversations_in_cells_are_json(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        'talk,id\n"[{""from"": ""human"", ""value"": ""q""}, {""from"": ""gpt"", ""value"": ""a""}]",7\n'
    )
    shape = Shape(columns={"conversations": "talk"})
    (found,) = read(tmp_path / "rows.csv", shape)
    assert found.row == Chat(ASK)
    assert shape.unused == {"id"}


def test_what_arrow_put_into_tools_and_calls_is_taken_out_again(tmp_path: Path) -> None:
    def call(name: str, **arguments: object) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}

    def tool(name: str, **properties: object) -> dict[str, Any]:
        parameters = {"type": "object", "properties": properties}
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    done = [{"role": "tool", "content": "4"}, ASK[1]]
    rows = [
        {"messages": [ASK[0], call("add", a=1), *done], "tools": [tool("add", a={"type": "integer"})]},
        {"messages": [ASK[0], call("find", city="Rome"), *done], "tools": [tool("find", city={"enum": ["Rome"]})]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert [item.row for item in read(tmp_path / "rows.parquet")] == [
        Chat([ASK[0], {**row["messages"][1], "content": ""}, *done], tools=tuple(row["tools"])) for row in rows
    ]


def test_tools_in_cells_are_json(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        'instruction,output,tools\nq,a,"[{""type"": ""function"", ""function"": {""name"": ""add""}}]"\nq,a,\n'
    )
    first, second = read(tmp_path / "rows.csv")
    assert first.row == Chat(ASK, tools=({"type": "function", "function": {"name": "add"}},))
    assert second.row == Chat(ASK)
