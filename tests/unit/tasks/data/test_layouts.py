"""Rows as other tools write them become the same conversations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.data.layouts import LAYOUTS, Shape
from tasks.data.rows import BadRow, Chat, Plain, Text

ASK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SYSTEM = {"role": "system", "content": "s"}
MORE = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ({"messages": ASK}, Chat(ASK)),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ASK[1]]}, Chat(ASK)),
        ({"messages": [{"role": "user", "content": [{"value": "q"}, {"text": "!"}]}, ASK[1]]}, None),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, Chat(ASK)),
        ({"conversations": ASK, "system": "s"}, Chat([SYSTEM, *ASK])),
        ({"conversations": [{"from": "system", "value": "s"}, *ASK], "system": ""}, Chat([SYSTEM, *ASK])),
        ({"instruction": "q", "output": "a"}, Chat(ASK)),
        ({"instruction": "q", "input": "", "output": "a", "history": None}, Chat(ASK)),
        ({"instruction": "q", "input": "x", "output": "a"}, Chat([{"role": "user", "content": "q\nx"}, ASK[1]])),
        (
            {"instruction": "q2", "output": "a2", "system": "s", "history": [["q", "a"]]},
            Chat([SYSTEM, *ASK, *MORE]),
        ),
        ({"prompt": "q", "completion": "a"}, Plain("q", "a")),
        ({"prompt": ASK[:1], "completion": ASK[1:]}, Chat(ASK, given=1)),
        ({"text": "once"}, Text("once")),
    ],
)
def test_every_layout_is_told_by_its_columns(value: dict[str, Any], row: object) -> None:
    wanted = row or Chat([{"role": "user", "content": "q!"}, ASK[1]])
    assert Shape().parse(value) == wanted
    assert Shape().parse(value | {"id": 7}) == wanted, "what nothing asks for is left alone"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"conversations": "x"}, "conversations must be a list, not str"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "does not end with an assistant message"),
        ({"conversations": [{"from": "alien", "value": "q"}]}, "turn 0 is from 'alien'; accepted: human"),
        ({"conversations": [{"from": "function_call", "value": "q"}]}, "tool calls cannot be learned yet"),
        ({"conversations": [{"from": "human"}, ASK[1]]}, "message 0 has the keys ['role']"),
        ({"conversations": [7, ASK[1]]}, "message 0 must be an object"),
        ({"instruction": "q", "output": ""}, "the answer is empty"),
        ({"instruction": ["q"], "output": "a"}, "instruction and input must be strings"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, "history must be a list of pairs"),
        ({"instruction": "q", "output": None}, "has the keys ['role']"),
        ({"text": " "}, "the text is empty"),
        ({"text": 7}, "text must be a string, not int"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ASK[1]]}, "a part that is no text"),
        ({"messages": [{"role": "user", "content": ["q"]}, ASK[1]]}, "a part that is no text"),
        ({"text": "x", "messages": ASK}, "several layouts (messages, text): data.format must say which"),
    ],
)
def test_what_fits_no_layout_says_why(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        Shape().parse(value)
    assert reason in str(caught.value)


def test_a_layout_can_be_named_where_several_fit() -> None:
    value = {"instruction": "q", "output": "a", "text": "### q a"}
    assert Shape("alpaca").parse(value) == Chat(ASK)
    assert Shape("text").parse(value) == Text("### q a")


def test_columns_of_other_names() -> None:
    shape = Shape("auto", {"prompt": "question", "completion": "answer"})
    assert shape.parse({"question": "q", "answer": "a", "prompt": "unused"}) == Plain("q", "a")
    assert shape.unused == {"prompt"}
    with pytest.raises(BadRow, match="lacks the column answer"):
        shape.parse({"question": "q"})


def test_rows_that_all_have_other_columns_do_not_pile_up() -> None:
    shape = Shape()
    for number in range(1000):
        shape.parse({"text": "x", f"extra-{number}": 0})
    assert len(shape.unused) <= 101


def test_the_examples_of_the_page_are_rows_of_the_layouts_it_names() -> None:
    page = (Path(__file__).parents[4] / "docs" / "data.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    examples = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert names == list(LAYOUTS)
    for name, lines in zip(names, examples, strict=True):
        rows = [json.loads(line) for line in lines.splitlines()]
        assert len(rows) == 2
        assert [Shape(name).parse(row) for row in rows] == [Shape().parse(row) for row in rows]
