"""Rows → text with the exact character spans of the answers, by rendering prefixes; no {% generation %} is needed."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import jinja2

from infra.errors import BadModel, BadTemplate
from tasks.data.rows import BadRow, Chat, Message, Plain, Row, Text

Span: TypeAlias = tuple[int, int]
# Llama 3's templates write today's date where none is given; their own default keeps equal rows equal tomorrow.
DATE = "26 Jul 2024"


@dataclass(frozen=True)
class Rendered:
    """Text, and the character spans [start, end) of its answers, each up to and including its end-of-turn token."""

    text: str
    answers: tuple[Span, ...]
    end: str

    def prompt(self) -> str:
        """What the model sees before the last answer."""
        return self.text[: self.answers[-1][0]]

    def answer(self) -> str:
        """The last answer without its end-of-turn token."""
        start, end = self.answers[-1]
        return self.text[start : end - len(self.end)]


class Template:
    """A tokenizer's way to write rows as text. `override` replaces the tokenizer's own chat template."""

    def __init__(self, tokenizer: Any, override: str | None = None) -> None:
        self._tokenizer = tokenizer
        self.text: str | None = override if override is not None else _own(tokenizer)
        backend = tokenizer.backend_tokenizer
        special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        self._begin = _begin(tokenizer)

    @property
    def sha256(self) -> str:
        """The hash of the chat template, empty where there is none."""
        return "" if self.text is None else hashlib.sha256(self.text.encode()).hexdigest()

    def render(self, rows: Sequence[tuple[str, Row]]) -> list[Rendered | BadRow]:
        """Text and answers of rows with their places, or why there is none.

        Raises BadTemplate where masks could not be exact: no template, an answer that changes what was rendered
        before it, an answer without an end-of-turn token.
        """
        chats = [(place, row) for place, row in rows if isinstance(row, Chat)]
        turns = iter(self._chats(chats))
        return [next(turns) if isinstance(row, Chat) else self._plain(row) for _, row in rows]

    def _plain(self, row: Plain | Text) -> Rendered:
        end = self._tokenizer.eos_token
        if end is None:
            raise BadModel("the tokenizer names no EOS token", remedy="set eos_token in its tokenizer_config.json")
        asked, learned = ("", row.text) if isinstance(row, Text) else (row.prompt, row.completion)
        prompt = asked if asked.startswith(self._begin) else self._begin + asked
        text = prompt + learned.removesuffix(end) + end
        return Rendered(text, ((len(prompt), len(text)),), end)

    def _chats(self, chats: Sequence[tuple[str, Chat]]) -> Iterator[Rendered | BadRow]:
        for (place, row), texts in zip(chats, self._prefixes([row for _, row in chats]), strict=True):
            yield texts if isinstance(texts, BadRow) else self._spans(place, row, texts)

    def _prefixes(self, rows: list[Chat]) -> list[list[str] | BadRow]:
        """Of each row, for each answer: what comes before it, and what is there after it."""
        try:
            openings = [row.messages[:turn] for row in rows for turn in _answers(row)]
            closings = [row.messages[: turn + 1] for row in rows for turn in _answers(row)]
            pairs = zip(self._texts(openings, True), self._texts(closings, False), strict=True)
        except jinja2.TemplateError as error:
            if len(rows) > 1:
                return list(chain.from_iterable(self._prefixes([row]) for row in rows))
            return [BadRow(f"the chat template refuses it: {error}")]
        taken = [list(chain.from_iterable(next(pairs) for _ in _answers(row))) for row in rows]
        return [self._forged(row) or texts for row, texts in zip(rows, taken, strict=True)]

    def _texts(self, conversations: list[list[Message]], opened: bool) -> list[str]:
        if self.text is None:
            raise BadTemplate(
                "the rows are conversations, and the tokenizer has no chat template",
                place="data.chat_template",
                remedy="name a Jinja file there, or give rows as prompt and completion strings",
            )
        if not conversations:
            return []
        try:
            rendered: list[str] = self._tokenizer.apply_chat_template(
                conversations, chat_template=self.text, tokenize=False, add_generation_prompt=opened, date_string=DATE
            )
        except jinja2.TemplateSyntaxError as error:
            raise BadTemplate(
                "the chat template is not valid Jinja",
                place="data.chat_template",
                value=f"line {error.lineno}: {error.message}",
                remedy="mend it, or name another file there",
            ) from None
        return rendered

    def _forged(self, row: Chat) -> BadRow | None:
        for number, message in enumerate(row.messages):
            if found := self._special.search(message["content"]):
                return BadRow(f"message {number}: the content holds the special token {found[0]}")
        return None

    def _spans(self, place: str, row: Chat, texts: list[str]) -> Rendered:
        whole, answers, end = texts[-1], [], ""
        for turn, opened, closed in zip(_answers(row), texts[::2], texts[1::2], strict=True):
            for earlier, later in ((opened, closed), (closed, whole)):
                if not later.startswith(earlier):
                    raise _not_a_prefix(f"{place}, message {turn}", earlier, later)
            stop, end = self._end(f"{place}, message {turn}", row.messages[turn]["content"], closed, len(opened))
            answers.append((len(opened), stop))
        return Rendered(whole, tuple(answers), end)

    def _end(self, place: str, content: str, closed: str, start: int) -> tuple[int, str]:
        # Templates may strip an answer, or write marks of their own before it (harmony's channels).
        after = closed.find(content.strip(), start)
        ends = list(self._special.finditer(closed, start if after < 0 else after + len(content.strip())))
        if not ends:
            raise BadTemplate(
                "the chat template puts no end-of-turn token after an answer, so the model would never learn to stop",
                place=place,
                value=repr(closed[-60:]),
                remedy=f"write {self._tokenizer.eos_token} after each assistant message, in a file for data.chat_template",
            )
        return ends[-1].end(), ends[-1][0]


def _own(tokenizer: Any) -> str | None:
    return None if tokenizer.chat_template is None else str(tokenizer.get_chat_template())


def _begin(tokenizer: Any) -> str:
    """What the tokenizer itself puts before plain text: the BOS token, or nothing."""
    before = tokenizer.backend_tokenizer.encode("", add_special_tokens=True).ids
    return str(tokenizer.bos_token) if tokenizer.bos_token and before[:1] == [tokenizer.bos_token_id] else ""


def _answers(row: Chat) -> list[int]:
    return [turn for turn, message in enumerate(row.messages) if turn >= row.given and message["role"] == "assistant"]


def _not_a_prefix(place: str, earlier: str, later: str) -> BadTemplate:
    same = next((at for at, (a, b) in enumerate(zip(earlier, later, strict=False)) if a != b), len(later))
    return BadTemplate(
        "the chat template writes the start of a conversation differently once an answer follows, so masks are not exact",
        place=place,
        value=f"{earlier[same - 20 : same + 40]!r} became {later[same - 20 : same + 40]!r}",
        remedy="give a template that writes each turn alike whatever follows, in a file for data.chat_template",
    )
