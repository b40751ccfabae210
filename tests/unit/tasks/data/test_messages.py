"""Messages keep all that matters to the tokens, and what cannot be learned says which message it is."""

from typing import Any

import pytest

from tasks.data.layouts import Shape
from tasks.data.rows import BadRow, Chat, fingerprint

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
ANSWER = {"role": "tool", "content": "4"}


def read(*messages: object) -> Chat:
    row = Shape().parse({"messages": list(messages)})
    assert isinstance(row, Chat)
    return row


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "content": "a", "reasoning_content": "t"},
        {"role": "assistant", "content": "a", "thinking": "t"},
        {"from": "gpt", "value": "a", "reasoning": "t", "name": None},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "reasoning", "text": "t", "id": None}, {"text": "a"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
                {"type": "text", "text": "a"},
            ],
        },
    ],
)
def test_what_a_model_thought_is_its_reasoning_content(answer: dict[str, Any]) -> None:
    assert read(Q, answer).messages[1] == {**A, "reasoning_content": "t"}


@pytest.mark.parametrize(
    "calls",
    [
        {"tool_calls": [CALL]},
        {"tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2}'}, "index": 0}]},
        {"tool_calls": '[{"name": "add", "parameters": {"a": 2}}]', "content": None},
        {"function_call": {"name": "add", "arguments": '{"a": 2}'}, "content": ""},
    ],
)
def test_calls_are_objects_however_they_are_written(calls: dict[str, Any]) -> None:
    assert read(Q, {"role": "assistant", **calls}, ANSWER, A) == Chat([Q, CALLED, ANSWER, A])


def test_a_call_may_be_the_last_word_and_have_no_arguments() -> None:
    (_, called) = read(Q, {"role": "assistant", "tool_calls": [{"name": "now", "arguments": ""}]}).messages
    assert called["tool_calls"][0]["function"] == {"name": "now", "arguments": {}}


def test_answers_find_their_calls_by_id_and_by_order() -> None:
    def call(*ids: str | None) -> dict[str, Any]:
        return {"role": "assistant", "content": "", "tool_calls": [CALL | ({"id": i} if i else {}) for i in ids]}

    kept = read(Q, call("x", "y"), {**ANSWER, "tool_call_id": "y"}, {**ANSWER, "tool_call_id": "x"}, A)
    assert [held.get("tool_call_id") for held in kept.messages] == [None, None, "y", "x", None]
    assert kept.messages[1]["tool_calls"][0]["id"] == "x"
    assert read(Q, call(None, None), ANSWER, ANSWER, A)
    assert read(Q, call(None), call(None), ANSWER, ANSWER, A), "two turns may call one after the other"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Q, ANSWER, A], "message 1 is a tool's answer to no call"),
        ([Q, CALLED, ANSWER, ANSWER, A], "message 3 is a tool's answer to no call"),
        ([Q, CALLED, Q, ANSWER, A], "message 3 is a tool's answer to no call"),
        (
            [Q, {**CALLED, "tool_calls": [CALL | {"id": "x"}]}, {**ANSWER, "tool_call_id": "z"}, A],
            "message 2 answers the call 'z', which nobody made",
        ),
        ([Q, CALLED, ANSWER], "does not end with an assistant message, so there is no answer to learn (message 2 is"),
        ([Q, {"role": "assistant", "content": " "}], "message 1: the answer is empty"),
        ([Q, {"role": "assistant", "content": "", "reasoning_content": "t"}], "message 1: the answer is empty"),
        ([Q, {"role": "assistant", "content": None}], "message 1 has no content"),
        ([{"role": "user", "content": None, "name": "n"}, A], "message 0 has no content"),
        ([{"content": "q"}, A], "message 0 has no role, but the keys ['content']"),
        ([{"role": "alien", "content": "q"}, A], "message 0 has the role 'alien'"),
        ([{"role": ["user"], "content": "q"}, A], "message 0 has the role"),
        ([A, Q, A], "the conversation starts with an answer to nothing"),
        ([{**Q, "tool_calls": [CALL]}, A], "message 0 is from user; only an assistant reasons and calls tools"),
        ([{**Q, "thinking": "t"}, A], "message 0 is from user"),
        ([Q, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}], "arguments is not JSON"),
        ([Q, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[]"}]}], "arguments must be an object"),
        ([Q, {"role": "assistant", "tool_calls": [7]}], "message 1: the tool call must be an object with name"),
        ([Q, {**A, "weight": 2}], "message 1: its weight must be"),
        ([Q, {**A, "train": "yes"}], "message 1: its weight must be"),
        ([Q, {**A, "train": False}], "no message has a weight above 0"),
        ([Q, {**A, "name": 7}], "message 1: name must be a string, not int"),
    ],
)
def test_what_cannot_be_learned_says_which_message(messages: list[Any], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(*messages)
    assert reason in str(caught.value)


def test_a_developer_is_the_system() -> None:
    assert read({"role": "developer", "content": "s"}, Q, A).messages[0] == {"role": "system", "content": "s"}


def test_weights_are_those_of_the_row_and_1_where_it_is_silent() -> None:
    assert read(Q, A).weights is None
    assert read(Q, {**A, "train": False}, Q, A).weights == (1, 0, 1, 1)
    assert read({**Q, "weight": 0.25}, A, Q, {**A, "training": True}).weights == (0.25, 1, 1, 1)
    assert read(Q, {**A, "loss": 0.5}).weights == (1, 0.5)


def test_everything_that_matters_to_the_tokens_is_in_the_fingerprint() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    rows = [
        Chat([Q, A]),
        Chat([Q, {**A, "reasoning_content": "t"}]),
        Chat([Q, A], tools=(tool,)),
        Chat([Q, A], weights=(0, 1)),
        Chat([Q, A, Q, A]),
        Chat([Q, A, Q, A], given=2),
        Chat([Q, CALLED]),
        Chat([Q, {**CALLED, "tool_calls": [CALL, CALL]}]),
    ]
    assert len({fingerprint(row) for row in rows}) == len(rows)


def test_numbers_and_depths_that_json_has_not_are_refused() -> None:
    for arguments in ({"a": float("nan")}, {"a": float("inf")}, {"a": b"x"}, _deep(100)):
        with pytest.raises(BadRow, match="message 1: the tool call's arguments"):
            read(Q, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]})


def _deep(levels: int) -> dict[str, Any]:
    return {} if levels == 0 else {"a": _deep(levels - 1)}
