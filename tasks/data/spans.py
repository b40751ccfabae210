"""Where each learned message stands in a rendered conversation, to the character, for templates that look ahead.

Many templates write a turn differently once another follows: they drop its reasoning, add an empty one, or show the
tools before the newest question. What comes before an answer is then no prefix of the whole. So the conversation is
rendered once more with marks in its messages. Without the marks that rendering must be the whole again, letter for
letter; this proves where each message stands, and that nothing else moved.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, NamedTuple

from infra.errors import BadTemplate
from tasks.data.rows import Message

# Asking for an answer, templates of reasoning models open the reasoning, which they leave out of answers without one.
_THINKING = re.compile(r"<think>\s*(</think>\s*)?\Z")

Render = Callable[[Sequence[list[Message]], bool], list[str]]
Mark = tuple[int, int]  # the message, and the number of the mark in it


class Span(NamedTuple):
    """Characters [start, stop) that are learned with a weight, and the end-of-turn token that they end with, if any."""

    start: int
    stop: int
    weight: float = 1.0
    end: str = ""


class Asked(NamedTuple):
    """A conversation up to an answer, with the generation prompt, and up to behind it."""

    opened: str
    closed: str


class Turn(NamedTuple):
    """A message that is learned; what is there before and after it where it is an answer."""

    number: int
    weight: float
    asked: Asked | None


@dataclass(frozen=True)
class Marked:
    """A rendering without its marks, and where they stood, in order; of a mark that is shown twice the first."""

    text: str
    places: dict[Mark, int]

    def after(self) -> tuple[Mark | None, str]:
        """The last mark, and the text behind it."""
        last = max(self.places, key=self.places.__getitem__, default=None)
        return last, self.text[0 if last is None else self.places[last] :]


class Marks:
    """A word that a conversation does not hold, with numbers behind it."""

    def __init__(self, messages: Sequence[Message]) -> None:
        held = str(messages)
        self._word = next(word for number in count() if (word := f"q{number}Q") not in held)
        self._pattern = re.compile(rf"{self._word}(\d+)x(\d+);")

    def put(self, message: Message, number: int, around: bool) -> Message:
        """The message with marks around what is visible of it, or with one in its middle."""
        content = message["content"]
        marked = {**message, "content": self._around(content, number) if around else self._within(content, number)}
        if message.get("tool_calls"):
            calls = enumerate(message["tool_calls"])
            marked["tool_calls"] = [self._called(call, number, 2 * at + 2) for at, call in calls]
        return marked

    def read(self, rendered: str) -> Marked:
        """Take the marks out of a rendering."""
        places: dict[Mark, int] = {}
        parts, at, length = [], 0, 0
        for found in self._pattern.finditer(rendered):
            parts.append(rendered[at : found.start()])
            length, at = length + found.start() - at, found.end()
            places.setdefault((int(found[1]), int(found[2])), length)
        return Marked("".join([*parts, rendered[at:]]), places)

    def _mark(self, number: int, at: int) -> str:
        return f"{self._word}{number}x{at};"

    def _around(self, content: str, number: int) -> str:
        # Reasoning within the content may be dropped or moved, white space at its ends be stripped.
        visible = content.rpartition("</think>")[2]
        core = visible.strip() or content.strip()
        if not core:
            return content
        start = content.rindex(core)
        stop = start + len(core)
        return content[:start] + self._mark(number, 0) + core + self._mark(number, 1) + content[stop:]

    def _within(self, content: str, number: int) -> str:
        # Templates look at the ends of a content: <tool_response> makes another turn of it.
        lead = len(content) - len(content.lstrip())
        middle = lead + (len(content.strip()) + 1) // 2
        return content[:middle] + self._mark(number, 0) + content[middle:] if content.strip() else content

    def _called(self, call: dict[str, Any], number: int, at: int) -> dict[str, Any]:
        function = call["function"]
        name = self._mark(number, at) + function["name"] + self._mark(number, at + 1)
        return {**call, "function": {**function, "name": name}}


def located(
    place: str, messages: list[Message], whole: str, turns: Sequence[Turn], render: Render, special: re.Pattern[str]
) -> dict[int, Span]:
    """The spans of the turns that the whole shows, by message; BadTemplate where they cannot be proved.

    `render` renders conversations, with or without a generation prompt; `special` finds special tokens.
    """
    shown, before, after = _marked(messages, whole, turns, render)
    if shown.text != whole:
        raise moved(place, whole, shown.text)
    spans = {}
    for turn in turns:
        at = f"{place}, message {turn.number}"
        if (bounds := _bounds(at, turn.number, shown)) is None:
            continue
        if turn.asked is None:
            start, (stop, end) = bounds[0], _end(shown, bounds[1], "", special)
        else:
            start = _start(at, shown, bounds[0], before.get(turn.number), turn.asked.opened)
            tail = _tail(at, after.get(turn.number), turn.asked.closed, bounds[1])
            stop, end = _end(shown, bounds[1], tail, special)
            if not end:
                raise endless(at, whole[start : bounds[1] + 60])
        spans[turn.number] = Span(start, stop, turn.weight, end)
    _require_apart(place, list(spans.values()), whole)
    return spans


def _marked(
    messages: list[Message], whole: str, turns: Sequence[Turn], render: Render
) -> tuple[Marked, dict[int, Marked], dict[int, Marked]]:
    """The whole with marks; and, where it does not begin with them, what is there before and after each answer."""
    exact = {turn.number for turn in turns}
    marks = Marks(messages)
    marked = [
        marks.put(message, at, at in exact or message["role"] == "assistant") for at, message in enumerate(messages)
    ]
    opened = [turn.number for turn in turns if turn.asked and not whole.startswith(turn.asked.opened)]
    closed = [turn.number for turn in turns if turn.asked and not whole.startswith(turn.asked.closed)]
    before = render([marked[:turn] for turn in opened], True) if opened else []
    shown, *after = render([marked, *(marked[: turn + 1] for turn in closed)], False)
    return (
        marks.read(shown),
        dict(zip(opened, map(marks.read, before), strict=True)),
        dict(zip(closed, map(marks.read, after), strict=True)),
    )


def _bounds(place: str, turn: int, shown: Marked) -> tuple[int, int] | None:
    """The first and the last mark of a message; None where the template does not show it."""
    places = [at for (message, _), at in shown.places.items() if message == turn]
    if not places:
        return None
    first, last = min(places), max(places)
    if any(first < at < last for (message, _), at in shown.places.items() if message != turn):
        raise BadTemplate(
            "the chat template writes another message into the middle of an answer, so masks are not exact",
            place=place,
            value=repr(shown.text[first:last][:80]),
            remedy="give content and tool calls as messages of their own, or name another template in data.chat_template",
        )
    return first, last


def _start(place: str, shown: Marked, first: int, before: Marked | None, opened: str) -> int:
    """Where the whole goes on as the generation prompt does: there a model would begin to write."""
    if before is None:
        start, tail = 0, opened
    else:
        last, _ = before.after()
        start, tail = 0 if last is None else shown.places.get(last, first), _tail(place, before, opened, 0)
    for expected in (tail, _THINKING.sub("", tail)):
        if shown.text.startswith(expected, start) and start + len(expected) <= first:
            return start + len(expected)
    raise moved(place, tail, shown.text[start : start + len(tail) + 40])


def _tail(place: str, marked: Marked | None, plain: str, last: int) -> str:
    """What stands behind the last mark of a rendering; it is at `last` where the whole begins with that rendering."""
    if marked is None:
        return plain[last:]
    tail = marked.after()[1]
    if not plain.endswith(tail):
        raise moved(place, plain, marked.text)
    return tail


def _end(shown: Marked, last: int, tail: str, special: re.Pattern[str]) -> tuple[int, str]:
    """The end-of-turn token behind a message: as where it is the last one, or the next special token of its turn."""
    stop = min((at for at in shown.places.values() if at > last), default=len(shown.text))
    gap = shown.text[last:stop]
    alike = next((at for at, (a, b) in enumerate(zip(gap, tail, strict=False)) if a != b), min(len(gap), len(tail)))
    ends = [found for found in special.finditer(gap[:alike])][-1:] or [*special.finditer(gap)][:1]
    return (last + ends[0].end(), ends[0][0]) if ends else (last, "")


def _require_apart(place: str, spans: list[Span], whole: str) -> None:
    for one, other in pairwise(spans):
        if other.start < one.stop:
            raise moved(place, whole[one.start : one.stop], whole[other.start : other.stop])


def moved(place: str, earlier: str, later: str) -> BadTemplate:
    """A template whose turns cannot be told apart from what follows them."""
    same = next((at for at, (a, b) in enumerate(zip(earlier, later, strict=False)) if a != b), len(later))
    start = max(same - 20, 0)
    return BadTemplate(
        "the chat template writes a turn differently once an answer follows, so masks are not exact",
        place=place,
        value=f"{earlier[start : same + 40]!r} became {later[start : same + 40]!r}",
        remedy="give a template that writes each turn alike whatever follows, in a file for data.chat_template",
    )


def endless(place: str, text: str) -> BadTemplate:
    """A template that ends no turn."""
    return BadTemplate(
        "the chat template puts no end-of-turn token after an answer, so the model would never learn to stop",
        place=place,
        value=repr(text[-60:]),
        remedy="write {{ eos_token }} after each assistant message, in a file for data.chat_template",
    )
