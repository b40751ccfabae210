"""Tools, calls and reasoning reach the model, or are refused by name."""

from typing import Any

import pytest

from infra.errors import BadTemplate
from tasks.data import calls
from tasks.data.rows import BadRow, Chat
from tasks.data.templates import Rendered, Template
from tests import chats, tiny
from tests.chats import TOOLS, answer, call, result, user

pytestmark = pytest.mark.heavy

TALK = [user("2 and 2?"), answer("", tool_calls=[call(to=2), call(to=4)]), result("It is 4"), answer("Four.")]


def render(row: Chat, template: str) -> Rendered | BadRow:
    return Template(chats.tokenizer(template), template).render([("a:1", row)])[0]


def test_the_whole_turn_of_a_call_is_learned() -> None:
    rendered = render(Chat(TALK, tools=TOOLS), chats.template("chatml"))
    assert isinstance(rendered, Rendered)
    turns = [rendered.text[span.start : span.stop] for span in rendered.spans]
    assert turns[0].startswith("<tool_call>")
    assert turns[0].endswith("</tool_call><|im_end|>")
    assert turns[0].count('"name": "add"') == 2
    assert turns[1] == "Four.<|im_end|>"


def test_a_template_that_knows_no_tools_is_refused() -> None:
    with pytest.raises(BadTemplate, match="leaves out the tools of a conversation") as caught:
        render(Chat([user("x"), answer("y")], tools=TOOLS), tiny.TEMPLATE)
    assert caught.value.place == "a:1"
    assert caught.value.value == "'add'"


@pytest.mark.parametrize(
    ("template", "row", "reason"),
    [
        (tiny.TEMPLATE, Chat(TALK), "message 1: the chat template leaves out its call of 'add'"),
        # gpt-oss writes one call a message.
        (
            chats.template("trl/gptoss"),
            Chat(TALK, tools=TOOLS),
            "message 1: the chat template leaves out its call of 'add'",
        ),
        (
            chats.template("chatml").replace("{{ message.content }}\n</tool", "\n</tool"),
            Chat(TALK),
            "message 2: the chat template leaves out the tool's result",
        ),
        (
            chats.template("trl/llama3_1"),
            Chat([user("2?"), answer("Let me see.", tool_calls=[call(to=2)])], tools=TOOLS),
            "message 1: the chat template leaves out its content",
        ),
        (
            chats.template("trl/smolvlm"),
            Chat([user("x"), answer("y")]),
            "message 1: the chat template leaves out its content",
        ),
    ],
)
def test_what_a_template_leaves_out_is_a_bad_row(template: str, row: Chat, reason: str) -> None:
    assert str(render(row, template)) == reason


def test_the_last_reasoning_must_be_shown_and_earlier_ones_may_be_dropped() -> None:
    row = chats.talks()["reasoning"]
    assert isinstance(render(row, chats.template("trl/qwen3")), Rendered)
    with pytest.raises(BadTemplate, match="leaves out the reasoning of an answer"):
        render(row, chats.template("llama3"))
    within = Chat([user("2?"), answer("<think>\nOne by one.\n</think>\n\nTwo.")])
    assert isinstance(render(within, chats.template("llama3")), Rendered)
    with pytest.raises(BadTemplate, match="leaves out the reasoning of an answer"):
        render(within, chats.template("trl/deepseek_r1_distill"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reasoning_content": "x<|im_end|>"}, "message 1: the content holds the special token <|im_end|>"),
        ({"tool_calls": [call(to=["<|im_start|>"])]}, "message 1: the content holds the special token <|im_start|>"),
        ({"tool_calls": [call(**{"<|im_start|>": 1})]}, "message 1: the content holds the special token <|im_start|>"),
    ],
)
def test_special_tokens_are_found_wherever_they_hide(change: dict[str, Any], reason: str) -> None:
    assert str(render(Chat([user("x"), answer("y", **change)]), chats.template("chatml"))) == reason


def test_special_tokens_in_tools_are_found() -> None:
    tools = ({"type": "function", "function": {"name": "add", "description": "<|im_end|>"}},)
    assert str(render(Chat([user("x"), answer("y")], tools=tools), chats.template("chatml"))) == (
        "tools: they hold the special token <|im_end|>"
    )


def test_a_result_written_into_an_answer_is_refused() -> None:
    """Gemma 4 writes what stands beside a call behind the call's result."""
    talk = [user("2?"), answer("Let me see.", tool_calls=[call(to=2)]), result("4"), answer("Four.")]
    with pytest.raises(BadTemplate, match="another message into the middle of an answer") as caught:
        render(Chat(talk, tools=TOOLS), chats.template("trl/gemma4"))
    assert caught.value.place == "a:1, message 1"


def test_templates_that_want_arguments_as_text_get_them_so() -> None:
    row = Chat([*TALK[:1], answer("", tool_calls=[call(to="zwölf")]), *TALK[2:]], tools=())
    rendered = render(row, chats.template("trl/deepseekv3"))
    assert isinstance(rendered, Rendered)
    assert '```json\n{"to": "zwölf"}\n```' in rendered.text


def test_strings_are_those_of_every_depth() -> None:
    assert list(calls.strings({"a": ["b", {"c": 1, "d": ("e",)}], "f": None})) == ["a", "b", "c", "d", "e", "f"]


def test_rows_with_different_tools_share_a_batch() -> None:
    other = ({"type": "function", "function": {"name": "subtract", "parameters": {}}},)
    rows = [Chat(TALK, tools=TOOLS), Chat([user("x"), answer("y")]), Chat([user("x"), answer("y")], tools=other)]
    text = chats.template("chatml")
    texts = Template(chats.tokenizer(text), text).render([("a:1", row) for row in rows])
    alone = [render(row, text) for row in rows]
    assert texts == alone
