"""What is known of rows besides their content: what is asked in them, and what stands in place of one that is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.data import formats
from tasks.data.layouts import Shape
from tasks.data.rows import SAMPLE, Chat, Plain, Text, asked, sample


def chat(*said: str) -> Chat:
    return Chat([{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, said, strict=False)])


def test_rows_whose_last_answer_alone_differs_ask_the_same() -> None:
    assert asked(chat("q", "a")) == asked(chat("q", "b")) != asked(chat("r", "a"))
    assert asked(chat("q", "a", "r", "a")) != asked(chat("q", "b", "r", "a"))
    assert asked(Plain("q", "a")) == asked(Plain("q", "b")) != asked(Plain("r", "a"))


def test_where_nothing_is_asked_there_is_no_hash() -> None:
    assert asked(Text("a")) == asked(Plain("", "a")) == 0


def test_a_number_beyond_64_bits_can_be_asked() -> None:
    call: dict[str, Any] = {"function": {"name": "f", "arguments": {"n": 2**70}}}
    row = Chat([{"role": "user", "content": "q", "tool_calls": [call]}, {"role": "assistant", "content": "a"}])
    assert asked(row) > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'  {"a": \xff', '{"a": \ufffd'),
        ({"a": ["\ud800", 1]}, '{"a": ["?", 1]}'),
        ("x" * 999, "x" * SAMPLE),
        (b"\xe2\x82\xac" * 999, "€" * SAMPLE),
    ],
)
def test_a_sample_is_short_text(value: object, expected: str) -> None:
    assert sample(value) == expected
    assert sample(value).encode()


def test_what_is_nested_too_deeply_has_no_sample() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert sample(value) == ""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rows.jsonl", '{"messages": [}\n', '{"messages": [}'),
        ("rows.jsonl", '{"prompt": 1, "completion": "\\u00e9"}\n', '{"prompt": 1, "completion": "\\u00e9"}'),
        ("rows.json", '[{"prompt": 1, "completion": "é"}]', '{"prompt": 1, "completion": "é"}'),
        ("rows.csv", "prompt,completion\nq\n", '["q"]'),
        ("rows.csv", "messages\n[{\n", '["[{"]'),
        ("rows.txt", "a\0b", "a\0b"),
    ],
)
def test_a_reader_shows_what_stands_in_place_of_a_row(
    write: Callable[..., Path], name: str, text: str, expected: str
) -> None:
    path = write([], name)
    path.write_text(text)
    (found,) = formats.read(path, name, Shape())
    assert found.reason
    assert found.sample == expected
