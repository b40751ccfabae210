"""Rows as other tools write them become the same conversations."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.config import DataConfig
from tasks.data.layouts import FIELDS, LAYOUTS, Shape
from tasks.data.rows import BadRow, Chat, Plain, Preference, Text, fingerprint

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
        ({"conversations": [{"from": "alien", "value": "q"}]}, "message 0 has the role 'alien'; known: user, human"),
        ({"conversations": [{"from": "function_call", "value": "q"}]}, "message 0: the tool call is not JSON"),
        ({"conversations": [{"from": "human"}, ASK[1]]}, "message 0 has no content, but the keys ['from']"),
        ({"conversations": [7, ASK[1]]}, "message 0 must be an object"),
        ({"instruction": "q", "output": ""}, "the answer is empty"),
        ({"instruction": ["q"], "output": "a"}, "instruction and input must be strings"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, "history must be a list of pairs"),
        ({"instruction": "q", "output": None}, "message 1 has no content"),
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
    examples = re.findall(r"^```json (\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    layouts = page.partition("```json")[0]
    assert re.findall(r"^\| `(\w+)` \|", layouts, re.MULTILINE) == list(LAYOUTS)
    assert {name for name, _ in examples} == set(LAYOUTS)
    for name, lines in examples:
        rows = [json.loads(line) for line in lines.splitlines()]
        assert len(rows) == 2
        read = [Shape(name).parse(row) for row in rows]
        # A label may also be a column that nobody asked for.
        assert name == "unpaired_preference" or read == [Shape().parse(row) for row in rows]


def test_the_template_of_the_page_makes_rows() -> None:
    page = (Path(__file__).parents[4] / "docs" / "data.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    configs = [DataConfig.model_validate(yaml.safe_load(example)["data"]) for example in examples]
    (config,) = [config for config in configs if config.row_templates]
    row = {"question": "2+2?", "choices": ["3", "4"], "answer": 1}
    made = Shape(row_templates=config.row_templates).parse(row)
    assert made == Plain("Question: 2+2?\n- 3\n- 4\nAnswer:", " 4")


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_a_tools_column_is_a_list_or_json_and_schemas_stay_as_they_are() -> None:
    exact = {"type": "function", "function": {"name": "add", "parameters": {"default": None, "enum": [1, None]}}}
    for tools in ([exact], json.dumps([exact]), [json.dumps(exact)], json.dumps(exact)):
        assert Shape().parse({"messages": ASK, "tools": tools}) == Chat(ASK, tools=(exact,))
    for none in (None, "", [], "[]", " "):
        assert Shape().parse({"conversations": ASK, "tools": none}) == Chat(ASK)
    assert Shape().parse({"messages": ASK, "tools": [TOOL["function"]]}) == Chat(ASK, tools=(TOOL,)), (
        "as it is asked later"
    )


def test_sharegpt_calls_are_tool_calls() -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "a"},
    ]
    row = Shape().parse({"conversations": turns, "tools": json.dumps([TOOL])})
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert row == Chat([ASK[0], called, {"role": "tool", "content": "4"}, ASK[1]], tools=(TOOL,))


def test_a_conversations_own_system_message_counts() -> None:
    other = [{"role": "system", "content": "own"}, *ASK]
    assert Shape().parse({"messages": other, "system": "s"}) == Chat(other)
    assert Shape().parse({"messages": ASK, "system": "s"}) == Chat([SYSTEM, *ASK])


def test_messages_of_other_keys_and_speakers() -> None:
    shape = Shape(
        columns={"messages": "talk", "role": "who", "content": "said"}, roles={"Kunde": "user", "Berater": "assistant"}
    )
    talk = [{"who": "Kunde", "said": "q", "at": 7}, {"who": "Berater", "said": "a"}]
    assert shape.parse({"talk": talk}) == Chat(ASK)
    assert shape.unused == {"messages[].at"}


def test_with_templates_a_row_has_the_fields_that_they_and_columns_name() -> None:
    shape = Shape(columns={"output": "reply"}, row_templates={"instruction": "{{ title }}: {{ input }}"})
    row = {"title": "T", "input": "i", "reply": "a", "text": "unused", "messages": 7}
    assert shape.parse(row) == Chat([{"role": "user", "content": "T: i"}, ASK[1]])
    with pytest.raises(BadRow, match=r"row_templates.instruction: 'title' is undefined; the row has the columns"):
        shape.parse({"input": "i", "reply": "a"})
    with pytest.raises(BadRow, match=r"gets the fields prompt of data.row_templates"):
        Shape(row_templates={"prompt": "x"}).parse({"completion": "y"})


def test_what_a_row_holds_is_no_template() -> None:
    assert Shape(row_templates={"text": "{{ a }}"}).parse({"a": "{{ b }}"}) == Text("{{ b }}")


def test_judged_answers_are_read() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert Shape().parse(pair) == Preference(Plain("q", "a"), Plain("q", "b"))
    Shape().require(list(pair), "rows.jsonl:1")
    with pytest.raises(BadRow, match=r"\(prompt_completion, unpaired_preference\): data.format must say which"):
        Shape().parse({"prompt": "q", "completion": "a", "label": True})


WORDS = sorted(
    {*FIELDS, "from", "value", "text", "type", "thinking", "function", "arguments", "parameters", "id", "train"}
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["auto", *LAYOUTS]), st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON), st.booleans())
def test_no_json_makes_the_parser_fail_otherwise_than_with_a_reason(
    name: str, value: dict[str, Any], as_text: bool
) -> None:
    written = {at: json.dumps(held) for at, held in value.items()} if as_text else value
    with suppress(BadRow):
        row = Shape(name).parse(written)
        row.size()
        fingerprint(row)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(WORDS), JSON | st.sampled_from(["user", "assistant", "tool"]))))
def test_no_messages_make_the_parser_fail_otherwise_than_with_a_reason(messages: list[dict[str, Any]]) -> None:
    for talk in (messages, [*ASK[:1], *messages, ASK[1]]):
        with suppress(BadRow):
            fingerprint(Shape().parse({"messages": talk}))
