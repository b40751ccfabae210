"""Keys that Arrow added go; whatever else a row holds stays, and plain messages cost nothing."""

from typing import Any

import pyarrow
import pytest

from tasks.data.padding import padded, unpadded

TALK = [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("value", "may_be"),
    [
        ("text", False),
        (TALK, False),
        ([{"role": "user", "content": "q", "name": "n"}], True),
        ([{"name": "f", "arguments": {"a": 1}}], True),
        ([[{"name": "f", "parameters": {"a": {"type": "x"}}}]], True),
        ({"name": "f", "description": "d"}, True),
        ([{"from": "human", "value": "q"}], False),
    ],
)
def test_only_plain_messages_are_not_looked_at(value: Any, may_be: bool) -> None:
    schema = pyarrow.Table.from_pylist([{"c": value}]).schema
    assert padded(schema) == (["c"] if may_be else [])


def test_what_one_row_had_not_is_gone_again_at_any_depth() -> None:
    rows = [{"c": [{"f": {"a": 1, "b": [1, None]}}]}, {"c": [{"f": {"z": ""}}, {"g": False}]}]
    read = pyarrow.Table.from_pylist(rows).to_pylist()
    assert read != rows
    assert [unpadded(row) for row in read] == rows
