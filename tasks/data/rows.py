"""What a row may be: a conversation, a prompt with its completion, or text to go on learning the language from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from infra.frozen import canonical

ROLES = ("system", "user", "assistant")

Message: TypeAlias = dict[str, str]


class BadRow(ValueError):
    """Why one row cannot be used; the reader adds the place."""


@dataclass(frozen=True)
class Chat:
    """A conversation; answers before message `given` are context and not learned."""

    messages: list[Message]
    given: int = 0

    def content(self) -> object:
        return {"messages": self.messages}

    def size(self) -> int:
        """Characters, about."""
        return sum(len(message["content"]) for message in self.messages)


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


Row: TypeAlias = Chat | Plain | Text


@dataclass(frozen=True)
class Found:
    """What a reader found: a row or the reason why there is none, its place, and the share of the file read so far."""

    place: str
    share: float
    row: Row | None = None
    reason: str = ""


def fingerprint(row: Row, seed: int) -> int:
    """64 bits of the row's content: equal rows are equal wherever they stand; BadRow where it is no valid text."""
    try:
        hashed = hashlib.sha256(canonical([seed, row.content()]))
    except UnicodeEncodeError as error:
        raise BadRow(f"holds half a character (a lone surrogate, {error.object[error.start]!r})") from None
    return int.from_bytes(hashed.digest()[:8], "big")


def chat(value: object, given: list[Any]) -> Chat:
    """A conversation of decoded messages after those that are only context; BadRow says what is wrong with it."""
    if not isinstance(value, list):
        raise BadRow(f"messages must be a list, not {type(value).__name__}")
    messages = [_message(item, number) for number, item in enumerate([*given, *value])]
    if not value or messages[-1]["role"] != "assistant":
        raise BadRow("the conversation does not end with an assistant message, so there is no answer to learn")
    if messages[0]["role"] == "assistant":
        raise BadRow("the conversation starts with an answer to nothing")
    return Chat(messages, len(given))


def _message(value: object, number: int) -> Message:
    if not isinstance(value, Mapping):
        raise BadRow(f"message {number} must be an object with role and content, not {type(value).__name__}")
    # Arrow gives every message all keys that any message has; None means that this one has not.
    keys = {key for key in value if value[key] is not None}
    if keys != {"role", "content"}:
        raise BadRow(f"message {number} has the keys {sorted(map(str, keys))}; accepted: role, content")
    role, content = value["role"], _joined(value["content"], number)
    if role not in ROLES:
        raise BadRow(f"message {number} has the role {str(role)[:40]!r}; accepted: {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise BadRow(f"message {number}: content must be a string, not {type(content).__name__}")
    if role == "assistant" and not content.strip():
        raise BadRow(f"message {number}: the answer is empty")
    return {"role": role, "content": content}


def _joined(content: object, number: int) -> object:
    """Text in parts as one text."""
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        text = part.get("text", part.get("value")) if isinstance(part, Mapping) else None
        if not isinstance(text, str) or part.get("type", "text") != "text":
            raise BadRow(f"message {number} has a part that is no text: only text can be learned")
        parts.append(text)
    return "".join(parts)
