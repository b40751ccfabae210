"""What cannot be proved to be an answer is refused: the marks, and templates made to mislead them."""

import re

import pytest

from infra.errors import BadTemplate
from tasks.data.rows import Message
from tasks.data.spans import Asked, Marks, Span, Turn, located
from tests.chats import answer, call, user

SPECIAL = re.compile("<end>")
TALK = [user("2 and 2?"), answer("<think>twice</think> four "), user("q0Q and 3?"), answer("seven")]


def rendered(conversations: list[list[Message]], opened: bool) -> list[str]:
    """A template that says how many turns there are, strips answers and drops their reasoning."""
    return [
        f"{len(messages)}:" + "".join(one["role"][0] + ":" + written(one) + "<end>" for one in messages) + "a:" * opened
        for messages in conversations
    ]


def written(message: Message) -> str:
    return (
        message["content"].rpartition("</think>")[2].strip() if message["role"] == "assistant" else message["content"]
    )


def turns(messages: list[Message], render=rendered) -> list[Turn]:  # type: ignore[no-untyped-def]
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    opened, closed = (render([messages[: at + more] for at in answers], not more) for more in (0, 1))
    return [Turn(at, 1.0, Asked(*texts)) for at, *texts in zip(answers, opened, closed, strict=True)]


def found(messages: list[Message], render=rendered) -> list[str]:  # type: ignore[no-untyped-def]
    (whole,) = render([messages], False)
    spans = located("a:1", messages, whole, turns(messages, render), render, SPECIAL)
    return [whole[span.start : span.stop] for span in spans.values()]


def test_answers_are_found_where_nothing_is_a_prefix() -> None:
    assert found(TALK) == ["four<end>", "seven<end>"]


def test_messages_that_read_alike_are_told_apart() -> None:
    talk = [user("a"), answer("a"), user("a:a"), answer("a:")]
    assert found(talk) == ["a<end>", "a:<end>"]


def test_marks_stand_nowhere_in_the_conversation_and_leave_no_trace() -> None:
    marks = Marks(TALK)
    marked = [marks.put(message, at, True) for at, message in enumerate(TALK)]
    for before, after in zip(TALK, marked, strict=True):
        assert after["content"] != before["content"]
        assert marks.read(after["content"]).text == before["content"]


def test_names_of_calls_are_marked_too() -> None:
    marks = Marks(TALK)
    marked = marks.put(answer("", tool_calls=[call(to=1), call(to=2)]), 7, True)
    names = [one["function"]["name"] for one in marked["tool_calls"]]
    assert [marks.read(name).places for name in names] == [{(7, 2): 0, (7, 3): 3}, {(7, 4): 0, (7, 5): 3}]
    assert marked["content"] == ""


def test_what_is_not_shown_is_not_learned() -> None:
    def forgetful(conversations: list[list[Message]], opened: bool) -> list[str]:
        return rendered([messages[-2:] if len(messages) > 3 else messages for messages in conversations], opened)

    assert found(TALK, forgetful) == ["seven<end>"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda text: text.swapcase(), "differently once an answer follows"),  # takes marks for content
        (lambda text: text[:40], "differently once an answer follows"),  # cuts what is long
        (lambda text: text.replace("<end>", ""), "no end-of-turn token"),
        (lambda text: text.removesuffix("a:") + "x:" * text.endswith("a:"), "differently once an answer follows"),
    ],
)
def test_what_cannot_be_proved_is_refused(change, what: str) -> None:  # type: ignore[no-untyped-def]
    def cheating(conversations: list[list[Message]], opened: bool) -> list[str]:
        return [change(text) for text in rendered(conversations, opened)]

    with pytest.raises(BadTemplate, match=what) as caught:
        found(TALK, cheating)
    assert caught.value.place.startswith("a:1")
    assert "data.chat_template" in caught.value.remedy


def test_a_span_is_learned_whole_unless_its_row_says_otherwise() -> None:
    assert Span(0, 1) == (0, 1, 1.0, "")
