"""What a row may be: a conversation, a prompt with its completion, text to go on learning the language from, or a judgement."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import orjson

from infra.frozen import canonical

SAMPLE = 200  # characters
ROLES = ("system", "user", "assistant", "tool")

# role and content (str); where there are any: reasoning_content (str), tool_calls (a list of
# {"type": "function", "function": {"name": str, "arguments": dict}}, some with an id), name, tool_call_id.
Message: TypeAlias = dict[str, Any]


class BadRow(ValueError):
    """Why one row cannot be used; the reader adds the place."""


@dataclass(frozen=True)
class Chat:
    """A conversation; answers before message `given` are context and not learned.

    `tools` are JSON schemas as apply_chat_template(tools=) takes them. `weights` has the loss weight, 0 … 1, of each
    message where the row says so (1 for one that it is silent about); which are learned at all, their roles decide.
    """

    messages: list[Message]
    given: int = 0
    tools: tuple[dict[str, Any], ...] = ()
    weights: tuple[float, ...] | None = None

    def content(self) -> object:
        told: dict[str, object] = {"messages": self.messages}
        if self.given:
            told["given"] = self.given
        if self.tools:
            told["tools"] = self.tools
        if self.weights is not None:
            told["weights"] = self.weights
        return told

    def size(self) -> int:
        """Characters, about."""
        extra = len(str(self.tools)) if self.tools else 0
        return extra + sum(
            len(message["content"]) if len(message) == 2 else len(str(message)) for message in self.messages
        )


@dataclass(frozen=True)
class Plain:
    """Text that continues text, without a template."""

    prompt: str
    completion: str

    def content(self) -> object:
        return {"prompt": self.prompt, "completion": self.completion}

    def size(self) -> int:
        """Characters, about."""
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class Text:
    """A document; every token of it is learned."""

    text: str

    def content(self) -> object:
        return {"text": self.text}

    def size(self) -> int:
        """Characters."""
        return len(self.text)


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, of which people preferred the first; both are of one kind."""

    chosen: Chat | Plain
    rejected: Chat | Plain

    def content(self) -> object:
        return {"chosen": self.chosen.content(), "rejected": self.rejected.content()}

    def size(self) -> int:
        """Characters, about."""
        return self.chosen.size() + self.rejected.size()


@dataclass(frozen=True)
class Labelled:
    """An answer, and whether it was liked (KTO, Ethayarajh et al. 2024)."""

    row: Chat | Plain
    label: bool

    def content(self) -> object:
        return {"row": self.row.content(), "label": self.label}

    def size(self) -> int:
        """Characters, about."""
        return self.row.size()


Single: TypeAlias = Chat | Plain | Text  # one text
Judged: TypeAlias = Preference | Labelled
Row: TypeAlias = Single | Judged


def sequences(row: Row) -> tuple[Single, ...]:
    """The texts that a row becomes: of a pair the chosen and the rejected one. A label is of the last answer, or of the
    whole completion where a prompt stands before it."""
    if isinstance(row, Preference):
        return row.chosen, row.rejected
    if isinstance(row, Labelled):
        said = row.row
        last = isinstance(said, Chat) and not said.given
        return (replace(said, given=len(said.messages) - 1) if isinstance(said, Chat) and last else said,)
    return (row,)


@dataclass(slots=True)
class Found:
    """What a reader found: a row or the reason why there is none, and its line in the part that was read, from 1.

    `sample` is the beginning of what stands there, where there is no row.
    """

    line: int
    row: Row | None = None
    reason: str = ""
    sample: str = ""


def fingerprint(row: Row) -> int:
    """64 bits of the row's content: equal rows are equal wherever they stand; BadRow where it is no valid text."""
    return int.from_bytes(hashlib.sha256(_canonical(row.content())).digest()[:8], "big")


def _canonical(content: object) -> bytes:
    try:
        # The same bytes, ten times as fast.
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        pass  # half a character, or a number that is longer than 64 bits
    try:
        return canonical(content)
    except UnicodeEncodeError as error:
        raise BadRow(f"holds half a character (a lone surrogate, {error.object[error.start]!r})") from None


def asked(row: Row) -> int:
    """64 bits of what comes before the row's last answer, which rows share whose answer alone differs; 0 for nothing."""
    if isinstance(row, Preference | Labelled):
        return asked(sequences(row)[0])
    if isinstance(row, Chat):
        before = [row.messages[:-1], row.tools]
        try:
            return _hash(orjson.dumps(before, option=orjson.OPT_SORT_KEYS))
        except TypeError:  # a number of more than 64 bits, or nesting beyond its limit
            return _hash(canonical(before))
    return _hash(row.prompt.encode()) if isinstance(row, Plain) and row.prompt else 0


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def sample(value: object) -> str:
    """The beginning of what stands in a file: of its bytes, or of a value as JSON."""
    if isinstance(value, bytes):
        return value[: 4 * SAMPLE].decode(errors="replace").strip()[:SAMPLE]
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return ""
    return text[:SAMPLE].encode(errors="replace").decode()  # half a character is no text


def decoded(text: str, what: str) -> object:
    """JSON in a string; BadRow where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{what} is not JSON ({str(error)[:80]})") from None


def listed(value: object, what: str) -> Sequence[Any]:
    """A list, which may be written as JSON; BadRow where it is none."""
    found = decoded(value, what) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if not isinstance(found, list):
        raise BadRow(f"{what} must be a list, not {type(found).__name__}")
    return found
