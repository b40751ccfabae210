"""Messages as the tools of the field write them → messages as chat templates take them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from tasks.data.rows import BadRow, Chat, Message, listed
from tasks.data.tools import calls_of, require_calls, schemas

CALL = "function_call"  # the role of an answer whose content is a tool call, as ShareGPT writes it
SPEAKERS = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "chatgpt", "bard", "bing", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "ipython", "tool_response"), "tool"),
    **dict.fromkeys((CALL, "tool_call"), CALL),
}
# By the field of a message: the keys that hold it, the first that is there.
KEYS = {
    "role": ("role", "from"),
    "content": ("content", "value"),
    "reasoning_content": ("reasoning_content", "thinking", "reasoning"),
    "tool_calls": ("tool_calls", "function_call"),
    "name": ("name",),
    "tool_call_id": ("tool_call_id",),
    "weight": ("weight", "train", "training", "loss"),
}
_TEXTS = (None, "text", "input_text", "output_text")
_THOUGHTS = ("thinking", "reasoning")


class Speech:
    """How one source writes messages: its names of speakers, by the role they have, and of a message's fields.

    `note` hears of every key of a message that nothing asks for.
    """

    def __init__(self, roles: Mapping[str, str], fields: Mapping[str, str], note: Callable[[str], None]) -> None:
        self._roles = SPEAKERS | dict(roles)
        self._plain = {said: role for said, role in self._roles.items() if role in ("system", "user", "assistant")}
        self._keys = {field: (fields[field], *keys) if field in fields else keys for field, keys in KEYS.items()}
        self._known = {key for keys in self._keys.values() for key in keys}
        self._note = note

    def chat(self, value: object, given: Iterable[object] = (), tools: object = None) -> Chat:
        """A conversation of decoded messages, after those that are only context; BadRow says which message is wrong."""
        weights: dict[int, float] = {}
        before, said = [*given], listed(value, "messages")
        messages = [self._message(item, number, weights) for number, item in enumerate([*before, *said])]
        if not said or messages[-1]["role"] != "assistant":
            raise BadRow(
                "the conversation does not end with an assistant message, so there is no answer to learn"
                + (f" (message {len(messages) - 1} is from {messages[-1]['role']})" if messages else "")
            )
        if messages[0]["role"] == "assistant":
            raise BadRow("the conversation starts with an answer to nothing (message 0)")
        if any(message["role"] == "tool" for message in messages):
            require_calls(messages)
        return Chat(messages, len(before), schemas(tools), _weighed(messages, len(before), weights))

    def _message(self, value: object, number: int, weights: dict[int, float]) -> Message:
        # Nearly all messages are this and nothing else, and rows come by the million.
        if type(value) is dict and len(value) == 2:
            said, content = value.get("role"), value.get("content")
            if said is None:
                said, content = value.get("from"), value.get("value")
            role = self._plain.get(said) if type(said) is str else None
            if role and type(content) is str and (role != "assistant" or content.strip()):
                return {"role": role, "content": content}
        if not isinstance(value, Mapping):
            raise BadRow(f"message {number} must be an object with role and content, not {_kind(value)}")
        if (weight := self._held(value, "weight")) is not None:
            weights[number] = _weight(weight, number)
        return self._parsed(value, number)

    def _parsed(self, value: Mapping[str, Any], number: int) -> Message:
        for key in value:
            if key not in self._known and value[key] is not None:
                self._note(f"messages[].{key}")
        role, raw = self.role(value, number), self._held(value, "content")
        calls = calls_of(self._held(value, "tool_calls"), number)
        if role == CALL:
            role, calls, raw = "assistant", calls_of(raw, number) + calls, ""
        if raw is None and not calls:
            raise BadRow(f"message {number} has no content, but the keys {sorted(map(str, value))}")
        content, thought = _text("" if raw is None else raw, number)
        message: Message = {"role": role, "content": content}
        if thought := _string(self._held(value, "reasoning_content"), "reasoning_content", number) or thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = calls
        for field in ("name", "tool_call_id"):
            if text := _string(self._held(value, field), field, number):
                message[field] = text
        _require_said(message, number)
        return message

    def role(self, value: Mapping[str, Any], number: int) -> str:
        """Who says a message; BadRow where that is not told or not known."""
        said = self._held(value, "role")
        if said is None:
            raise BadRow(f"message {number} has no role, but the keys {sorted(map(str, value))}")
        role = self._roles.get(said) if isinstance(said, str) else None
        if role is None:
            raise BadRow(
                f"message {number} has the role {str(said)[:40]!r}; known: {', '.join(self._roles)}; "
                "data.roles tells others"
            )
        return role

    def _held(self, value: Mapping[str, Any], field: str) -> Any:
        """What a message says of a field; Arrow gives all messages all keys, so that None means nothing."""
        for key in self._keys[field]:
            if (held := value.get(key)) is not None:
                return held
        return None


def _require_said(message: Message, number: int) -> None:
    if message["role"] == "assistant":
        if not message["content"].strip() and "tool_calls" not in message:
            raise BadRow(f"message {number}: the answer is empty")
    elif "tool_calls" in message or "reasoning_content" in message:
        raise BadRow(f"message {number} is from {message['role']}; only an assistant reasons and calls tools")


def _weight(value: object, number: int) -> float:
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        raise BadRow(f"message {number}: its weight must be true, false, or 0 to 1")
    return float(value)


def _weighed(messages: Sequence[Message], given: int, said: Mapping[int, float]) -> tuple[float, ...] | None:
    """The loss weight of every message where any says one; of a silent one 1, as then its role alone decides."""
    if not said:
        return None
    learned = [number for number, message in enumerate(messages) if message["role"] == "assistant" and number >= given]
    if not any(said.get(number, 1.0) for number in learned) and not any(said.values()):
        raise BadRow("no message has a weight above 0, so there is nothing to learn")
    return tuple(said.get(number, 1.0) for number in range(len(messages)))


def _string(value: object, field: str, number: int) -> str:
    if value is not None and not isinstance(value, str):
        raise BadRow(f"message {number}: {field} must be a string, not {_kind(value)}")
    return value or ""


def _text(content: object, number: int) -> tuple[str, str]:
    """What a message says, and what it thought before, of a string or of parts."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise BadRow(f"message {number}: content must be a string, not {_kind(content)}")
    said: list[str] = []
    thought: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else ""
        keys = _THOUGHTS if kind in _THOUGHTS else ("text", "value")
        text = _part(part, (*keys, "text", "value")) if _is_text(kind) else None
        if text is None:
            raise BadRow(f"message {number} has a part that is no text: only text can be learned")
        (thought if kind in _THOUGHTS else said).append(text)
    return "".join(said), "".join(thought)


def _is_text(kind: object) -> TypeGuard[str | None]:
    return kind is None or (isinstance(kind, str) and kind in (*_TEXTS, *_THOUGHTS))


def _part(part: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    held = next((part[key] for key in keys if part.get(key) is not None), None)
    if isinstance(held, list):  # Mistral writes thoughts as parts of their own
        texts = [item.get("text") if isinstance(item, Mapping) else None for item in held]
        return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None
    return held if isinstance(held, str) else None


def _kind(value: object) -> str:
    return type(value).__name__
