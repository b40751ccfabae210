"""Rows → text with the exact character spans of what is learned; no {% generation %} is needed."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra.errors import BadModel, BadTemplate
from infra.models.bounded import Limited, Overrun
from tasks.data import calls, named, sources
from tasks.data.config import DataConfig, TextConfig
from tasks.data.infilling import Infilling
from tasks.data.learning import Learning
from tasks.data.outlines import Outline, Outlines, either
from tasks.data.rendering import REFUSALS, Renderer, Tools, characters
from tasks.data.rows import BadRow, Chat, Message, Plain, Single, Text
from tasks.data.spans import Asked, Span, Turn, endless, located

Learned = list[tuple[int, float]]  # messages and their loss weights
OUTLINES = 4096  # different orders of roles that are remembered
# A template that spends too much on a row of up to so many characters, or on so many rows, is itself to blame.
SHORT, OVERRUNS = 2**16, 3
ORDINARY = 2**23  # characters of all that a batch renders: its memory is bounded once, not call by call


@dataclass(frozen=True)
class Rendered:
    """Text, and the spans of it that are learned, in order, each up to and including its end-of-turn token."""

    text: str
    spans: tuple[Span, ...]

    def prompt(self) -> str:
        """What the model sees before the last answer."""
        return self.text[: self.spans[-1].start]

    def answer(self) -> str:
        """The last answer without its end-of-turn token."""
        span = self.spans[-1]
        return self.text[span.start : span.stop - len(span.end)]


class Template:
    """A tokenizer's way to write rows as text. `override` replaces the tokenizer's own chat template."""

    def __init__(
        self,
        tokenizer: Any,
        override: str | None = None,
        learning: Learning | None = None,
        infilling: Infilling | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.text: str | None = override if override is not None else _own(tokenizer)
        backend = tokenizer.backend_tokenizer
        special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
        self._special = either(special)
        self._begin = _begin(tokenizer)
        self._renderer = Renderer(tokenizer, self.text)
        self._outlines = Outlines(tokenizer, self._renderer.text, special)
        # A special token that starts with white space might start within a content.
        self._plain_ends = not any(token[:1].isspace() for token in special)
        self._known: dict[tuple[object, ...], Outline | None] = {}
        self._learning = learning or Learning()
        self._infilling = infilling
        self._overruns = 0

    @property
    def sha256(self) -> str:
        """The hash of the chat template, empty where there is none."""
        return "" if self.text is None else hashlib.sha256(self.text.encode()).hexdigest()

    def render(self, rows: Sequence[tuple[str, Single]]) -> list[Rendered | BadRow]:
        """Text and spans of rows with their places, or why there is none.

        Raises BadTemplate where masks could not be exact: no template, turns that cannot be told apart, an answer
        without an end-of-turn token; and where it leaves out tools or calls.
        """
        chats = [(place, row) for place, row in rows if isinstance(row, Chat)]
        cuts = sum([characters(row.messages) * len(row.messages) for _, row in chats])
        with Limited(cuts) if cuts <= ORDINARY else nullcontext():
            turns = iter(list(self._chats(chats)))
        return [next(turns) if isinstance(row, Chat) else self._plain(row) for _, row in rows]

    def _plain(self, row: Plain | Text) -> Rendered | BadRow:
        end = self._tokenizer.eos_token
        if end is None:
            raise BadModel(
                "the tokenizer names no EOS token",
                place="base.model_name_or_path",
                remedy="set eos_token in its tokenizer_config.json",
            )
        asked, learned = ("", row.text) if isinstance(row, Text) else (row.prompt, row.completion)
        learned = learned.removesuffix(end)
        if self._infilling is not None and isinstance(row, Text):
            try:
                learned = self._infilling.rearranged(learned)
            except BadRow as error:
                return error
        prompt = asked if asked.startswith(self._begin) else self._begin + asked
        text = prompt + learned + end
        return Rendered(text, (Span(len(prompt), len(text), 1.0, end),))

    def _chats(self, chats: Sequence[tuple[str, Chat]]) -> Iterator[Rendered | BadRow]:
        turns = [self._learning.turns(row) for _, row in chats]
        made = [self._outlined(place, row, learned) for (place, row), learned in zip(chats, turns, strict=True)]
        rest = [at for at, found in enumerate(made) if found is None]
        rendered = self._one_by_one([chats[at] for at in rest], [turns[at] for at in rest])
        return (next(rendered) if found is None else found for found in made)

    def _outlined(self, place: str, row: Chat, learned: Learned) -> Rendered | BadRow | None:
        """A row whose contents only have to be put into the outline of its roles; None for any other row."""
        messages = row.messages
        if row.tools or not learned or not all(len(message) == 2 for message in messages) or _thinks(row):
            return None
        key = (*(message["role"] for message in messages), *(turn for turn, _ in learned))
        contents = [message["content"] for message in messages]
        if key in self._known:
            outline = self._known[key]
            if outline is None or not outline.fits(contents):
                return None
            return self._forged(row) or _filled(outline, contents, learned)
        if len(self._known) == OUTLINES:
            return None
        outline = self._outlines.find(key[: len(messages)], key[len(messages) :]) if self._plain_ends else None
        first = next(self._one_by_one([(place, row)], [learned]))
        if isinstance(first, Rendered) and (outline is None or outline.fits(contents)):
            # The proof is ours, the rendering that of transformers: the first row of a kind goes both ways.
            self._known[key] = outline if outline and _filled(outline, contents, learned) == first else None
        return first

    def _one_by_one(self, chats: Sequence[tuple[str, Chat]], turns: list[Learned]) -> Iterator[Rendered | BadRow]:
        texts = self._texts([row for _, row in chats], turns)
        for (place, row), learned, found in zip(chats, turns, texts, strict=True):
            if isinstance(found, BadRow):
                yield found
            elif not learned:
                yield BadRow("no message of it is learned (data.roles_to_train)")
            else:
                yield self._checked(place, row, learned, *found)

    def _texts(self, rows: list[Chat], turns: list[Learned]) -> list[tuple[str, dict[int, Asked]] | BadRow]:
        """Of each row: the whole, and of each answer what comes before it, and what is there after it."""
        answers = [_answers(row, learned) for row, learned in zip(rows, turns, strict=True)]
        stops = [_stops(row, found) for row, found in zip(rows, answers, strict=True)]
        try:
            opened = iter(self._renderer.render(_cut(rows, answers), True))
            closed = iter(self._renderer.render(_cut(rows, stops), False))
        except (Overrun, *REFUSALS) as error:
            if len(rows) > 1:
                return [self._texts([row], [learned])[0] for row, learned in zip(rows, turns, strict=True)]
            return [self._refused(rows[0], error)]
        made: list[tuple[str, dict[int, Asked]] | BadRow] = []
        for row, found, cuts in zip(rows, answers, stops, strict=True):
            closings = [next(closed) for _ in cuts]
            asked = {at: Asked(next(opened), closing) for at, closing in zip(found, closings, strict=False)}
            made.append(self._forged(row) or (closings[-1], asked))
        return made

    def _forged(self, row: Chat) -> BadRow | None:
        for number, message in enumerate(row.messages):
            content = message["content"] if len(message) == 2 else "\0".join(calls.strings(message))
            if found := self._special.search(content):
                return BadRow(f"message {number}: the content holds the special token {found[0]}")
        if row.tools and (found := self._special.search("\0".join(calls.strings(row.tools)))):
            return BadRow(f"tools: they hold the special token {found[0]}")
        return None

    def _checked(
        self, place: str, row: Chat, learned: Learned, whole: str, asked: dict[int, Asked]
    ) -> Rendered | BadRow:
        try:
            spans = self._spans(place, row, learned, whole, asked)
            if row.tools or sum(map(len, row.messages)) > 2 * len(row.messages) or _thinks(row):
                calls.require_shown(place, row, whole, spans)
        except BadRow as error:
            return error
        if not spans:
            return BadRow("the chat template shows nothing of it that is learned")
        return Rendered(whole, tuple(spans.values()))

    def _spans(self, place: str, row: Chat, learned: Learned, whole: str, asked: dict[int, Asked]) -> dict[int, Span]:
        adds = [
            at
            for at, texts in asked.items()
            if texts.closed.startswith(texts.opened) and whole.startswith(texts.closed)
        ]
        if len(adds) == len(learned):
            return {at: self._added(f"{place}, message {at}", row, at, asked[at], weight) for at, weight in learned}
        for at, texts in asked.items():
            _require_said(row, at, texts.closed)
        turns = [Turn(at, weight, asked.get(at)) for at, weight in learned]
        try:
            return located(place, row.messages, whole, turns, partial(self._marked, row.tools), self._special)
        except Overrun as error:
            raise self._refused(row, error) from None
        except REFUSALS as error:
            raise BadRow(f"the chat template refuses it once its messages are marked: {error}") from None

    def _refused(self, row: Chat, error: Exception) -> BadRow:
        """A row that its template does not take; BadTemplate where it is the template that has no end."""
        if not isinstance(error, Overrun):
            return BadRow(f"the chat template refuses it: {error}")
        self._overruns += 1
        if (size := characters(row.messages)) <= SHORT or self._overruns == OVERRUNS:
            raise BadTemplate(
                f"the chat template {error}",
                place="data.chat_template",
                value=f"for a conversation of {size:,} characters",
                remedy="mend its loops, or name another file there",
            )
        return BadRow(f"the chat template {error} for it")

    def _marked(self, tools: Tools, conversations: Sequence[list[Message]], opened: bool) -> list[str]:
        return self._renderer.render([(tools, messages) for messages in conversations], opened)

    def _added(self, place: str, row: Chat, turn: int, asked: Asked, weight: float) -> Span:
        """An answer that is what rendering added."""
        start, closed = len(asked.opened), asked.closed
        # Templates may strip an answer, or write marks of their own before it (harmony's channels).
        content = row.messages[turn]["content"].strip()
        after = closed.find(content, start)
        if after < 0:
            _require_said(row, turn, closed[start:])
        ends = list(self._special.finditer(closed, start if after < 0 else after + len(content)))
        if not ends:
            raise endless(place, closed)
        return Span(start, ends[-1].end(), weight, ends[-1][0])


def override(config: DataConfig, tokenizer: Callable[[], Any]) -> str | None:
    """The template that replaces the tokenizer's own; BadTemplate where a named one does not fit the tokenizer, which is
    asked for only then."""
    if config.chat_template is None:
        return None
    named.require(config.chat_template, tokenizer())
    return sources.text(config.chat_template, "data.chat_template")


def of(text: TextConfig, override: str | None, tokenizer: Any) -> Template:
    """The template that rows of one kind are written with; BadModel where the tokenizer cannot infill."""
    learning = Learning(frozenset(text.roles_to_train), text.train_on_last_turn)
    infilling = Infilling(tokenizer, text.fim_rate, text.fim_spm_rate) if text.fim_rate else None
    return Template(tokenizer, override, learning, infilling)


def _own(tokenizer: Any) -> str | None:
    return None if tokenizer.chat_template is None else str(tokenizer.get_chat_template())


def _begin(tokenizer: Any) -> str:
    """What the tokenizer itself puts before plain text: the BOS token, or nothing."""
    before = tokenizer.backend_tokenizer.encode("", add_special_tokens=True).ids
    return str(tokenizer.bos_token) if tokenizer.bos_token and before[:1] == [tokenizer.bos_token_id] else ""


def _answers(row: Chat, learned: Learned) -> list[int]:
    return [at for at, _ in learned if row.messages[at]["role"] == "assistant"]


def _stops(row: Chat, answers: list[int]) -> list[int]:
    """Where the conversation is cut to see each answer, and its end."""
    whole = len(row.messages)
    return [at + 1 for at in answers] if answers and answers[-1] + 1 == whole else [*(at + 1 for at in answers), whole]


def _cut(rows: list[Chat], stops: list[list[int]]) -> list[tuple[Tools, list[Message]]]:
    return [(row.tools, row.messages[:stop]) for row, cuts in zip(rows, stops, strict=True) for stop in cuts]


def _filled(outline: Outline, contents: list[str], learned: Learned) -> Rendered:
    text, spans = outline.fill(contents)
    weighed = zip(spans, learned, strict=True)
    return Rendered(text, tuple([Span(start, stop, weight, end) for (start, stop, end), (_, weight) in weighed]))


def _thinks(row: Chat) -> bool:
    return "</think>" in row.messages[-1]["content"]


def _require_said(row: Chat, turn: int, closed: str) -> None:
    """BadRow where a template leaves out an answer even where it is the last: it wants content of another kind."""
    if not calls.holds(closed, row.messages[turn]["content"].rpartition("</think>")[2].strip()):
        raise BadRow(f"message {turn}: the chat template leaves out its content")
