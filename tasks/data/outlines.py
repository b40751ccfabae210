"""What a chat template writes around the contents of a conversation: found once for all conversations of the same roles.

A conversation of contents that nobody can look at is rendered. Where the template does no more with them than to write
them, stripped or as they are, the text around them is the same whatever they say. To a question that nearly all contents
answer alike (does it hold </think>, does it start with <tool_response>) the answer is no, and the outline holds for those
only that answer so. Where a template looks at a content in another way there is no outline, and every row is rendered.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2

from infra.models.bounded import Overrun, within
from tasks.data.rendering import REFUSALS, given
from tasks.data.unseen import Question, Seen, Slot, Unseen, environment, pieces_of


class Written(NamedTuple):
    """Slots, and the text before, between and behind them: literals[0], slots[0], literals[1], …"""

    literals: tuple[str, ...]
    slots: tuple[Slot, ...]

    def starts(self, other: "Written") -> bool:
        """Whether the other goes on where this one ends."""
        last = len(self.slots)
        return (
            self.slots == other.slots[:last]
            and self.literals[:last] == other.literals[:last]
            and other.literals[last].startswith(self.literals[last])
        )


class Mark(NamedTuple):
    """An answer: its slot, where it starts and stops but for the lengths of the contents before that, and the
    end-of-turn token that ends it."""

    slot: int
    start: int
    stop: int
    end: str


class Outline(NamedTuple):
    """A whole conversation, its answers in order, and the questions to which its contents must answer no."""

    written: Written
    marks: tuple[Mark, ...]
    asked: tuple[Question, ...] = ()

    def fits(self, contents: Sequence[str]) -> bool:
        """Whether it is the outline of these contents too."""
        return not self.asked or all(question.denied(contents) for question in self.asked)

    def fill(self, contents: Sequence[str]) -> tuple[str, list[tuple[int, int, str]]]:
        """The text, and of each answer [start, stop) with its end-of-turn token."""
        filled = [slot.text(contents) for slot in self.written.slots]
        parts = [""] * (2 * len(filled) + 1)
        parts[::2], parts[1::2] = self.written.literals, filled
        ends = [0]
        for content in filled:
            ends.append(ends[-1] + len(content))
        spans = [(mark.start + ends[mark.slot], mark.stop + ends[mark.slot + 1], mark.end) for mark in self.marks]
        return "".join(parts), spans


class Outlines:
    """The outlines of one template. `special` are the special tokens."""

    def __init__(self, tokenizer: Any, text: str | None, special: Sequence[str]) -> None:
        self._tokenizer, self._tokens = tokenizer, special
        self._special = either(special)
        self._template: Any = None
        if text is not None:
            try:
                self._template = within(lambda: environment().from_string(text))
            except (jinja2.TemplateError, Overrun):
                return  # whoever renders says what is wrong with it

    def find(self, roles: Sequence[str], answers: Sequence[int]) -> Outline | None:
        """The outline of conversations of these roles in which these messages are learned; None where there is none."""
        if self._template is None:
            return None
        asked: set[Question] = set()
        messages = [{"role": role, "content": Unseen([Slot(at)], asked)} for at, role in enumerate(roles)]
        try:
            whole = self._written(messages, False)
            marks = [self._mark(messages, at, whole) for at in answers]
        except (Seen, Overrun, *REFUSALS):
            return None  # it is rendered row by row then, and what is wrong is said there
        return Outline(whole, tuple(mark for mark in marks if mark), tuple(asked)) if all(marks) else None

    def _written(self, messages: list[dict[str, Any]], opened: bool) -> Written:
        found = within(lambda: self._template.render(messages=messages, **given(self._tokenizer, opened)))
        literals, slots = [""], []
        for piece in pieces_of(found):
            if isinstance(piece, Slot):
                slots.append(piece)
                literals.append("")
            else:
                literals[-1] += piece
        return Written(tuple(literals), tuple(slots))

    def _mark(self, messages: list[dict[str, Any]], turn: int, whole: Written) -> Mark | None:
        """An answer that directly follows the generation prompt, and that its rendering as the last one ends alike."""
        opened, closed = self._written(messages[:turn], True), self._written(messages[: turn + 1], False)
        at = len(opened.slots)
        if not (opened.starts(closed) and closed.starts(whole)) or len(closed.slots) != at + 1:
            return None
        prompt, tail = len(opened.literals[at]), closed.literals[-1]
        ends = list(self._special.finditer(tail))
        if closed.slots[at].message != turn or not ends or self._may_join(closed.literals[at][prompt:], tail):
            return None
        start = sum(map(len, closed.literals[:at])) + prompt
        return Mark(at, start, sum(map(len, closed.literals[:-1])) + ends[-1].end(), ends[-1][0])

    def _may_join(self, before: str, behind: str) -> bool:
        """Whether a special token stands before a content, or a content could be a part of one with what is beside it."""
        return self._special.search(before) is not None or any(
            before.endswith(token[:cut]) or behind.startswith(token[cut:])
            for token in self._tokens
            for cut in range(1, len(token))
        )


def either(special: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds special tokens, the longest first."""
    return re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
