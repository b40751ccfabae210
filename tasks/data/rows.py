"""What a row may be: a conversation, or a plain prompt with its completion."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from infra.frozen import canonical

ACCEPTED = "messages (a list of {role, content}), or prompt and completion (both strings, or both lists of messages)"
ROLES = ("system", "user", "assistant")
_LAYOUTS = ({"messages"}, {"prompt", "completion"})

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


Row: TypeAlias = Chat | Plain


@dataclass(frozen=True)
class Found:
    """What a reader found: a row or the reason why there is none, its place, and the share of the file read so far."""

    place: str
    share: float
    row: Row | None = None
    reason: str = ""


def known_columns(columns: set[str]) -> bool:
    """Whether these names are one of the accepted layouts."""
    return columns in _LAYOUTS


def parse(value: object) -> Row:
    """A row from decoded JSON; BadRow says what is wrong with it."""
    if not isinstance(value, Mapping):
        raise BadRow(f"a row must be an object, not {type(value).__name__}")
    if not known_columns(set(value)):
        raise BadRow(f"has the columns {', '.join(sorted(map(str, value)))}; accepted: {ACCEPTED}")
    if "messages" in value:
        return _chat(value["messages"], [])
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _chat(completion, prompt)
    if not isinstance(prompt, str) or not isinstance(completion, str):
        kinds = f"{type(prompt).__name__} and {type(completion).__name__}"
        raise BadRow(f"prompt and completion must both be strings or both be lists of messages, not {kinds}")
    if not completion:
        raise BadRow("the completion is empty")
    return Plain(prompt, completion)


def fingerprint(row: Row, seed: int) -> int:
    """64 bits of the row's content: equal rows are equal wherever they stand; BadRow where it is no valid text."""
    try:
        hashed = hashlib.sha256(canonical([seed, row.content()]))
    except UnicodeEncodeError as error:
        raise BadRow(f"holds half a character (a lone surrogate, {error.object[error.start]!r})") from None
    return int.from_bytes(hashed.digest()[:8], "big")


def _chat(value: object, given: list[Any]) -> Chat:
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
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise BadRow(f"message {number} has the role {str(role)[:40]!r}; accepted: {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise BadRow(f"message {number}: content must be a string, not {type(content).__name__}")
    if role == "assistant" and not content.strip():
        raise BadRow(f"message {number}: the answer is empty")
    return {"role": role, "content": content}
