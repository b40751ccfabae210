"""Tools and calls in conversations: shown by the template, or refused rather than lost without a word."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.errors import BadTemplate
from tasks.data.rows import BadRow, Chat, Message
from tasks.data.spans import Span

# A call with arguments as the standard has them, for a template to show whether it can write them.
PROBE: list[Message] = [
    {"role": "user", "content": "2+2?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "id": "call00000", "function": {"name": "add", "arguments": {"to": "2"}}}],
    },
]
_WORD = re.compile(r"[A-Za-z0-9]+")


def as_json(message: Message) -> Message:
    """The message with the arguments of its calls as JSON text."""
    if "tool_calls" not in message:
        return message
    return {**message, "tool_calls": [_with_json(call) for call in message["tool_calls"]]}


def _with_json(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    written = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": written}}


def strings(value: object) -> Iterator[str]:
    """Every text in a value of JSON, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield key
            yield from strings(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from strings(held)


def require_shown(place: str, row: Chat, whole: str, spans: Mapping[int, Span]) -> None:
    """Raise where the rendered conversation lacks what its row has.

    BadTemplate where the template knows no tools or no reasoning, BadRow where it leaves out a call or a result.
    Reasoning of earlier answers may be dropped: many models are trained and asked without it.
    """
    for tool in row.tools:
        name = tool.get("function", tool).get("name", "")
        if name not in whole:
            raise _lost(place, "the tools of a conversation", name)
    for number, message in enumerate(row.messages):
        turn, at = spans.get(number, Span(0, len(whole))), 0
        for call in message.get("tool_calls") or ():
            name = call["function"]["name"]
            at = whole.find(name, at or turn.start, turn.stop) + len(name)
            if at < len(name):
                raise BadRow(f"message {number}: the chat template leaves out its call of {name!r}")
        if message["role"] == "tool" and not holds(whole, message["content"]):
            raise BadRow(f"message {number}: the chat template leaves out the tool's result")
    last = row.messages[-1]
    reasoning = last.get("reasoning_content") or last["content"].rpartition("</think>")[0]
    if not holds(whole, reasoning.rpartition("<think>")[2]):
        raise _lost(f"{place}, message {len(row.messages) - 1}", "the reasoning of an answer", reasoning)


def holds(whole: str, text: str) -> bool:
    """Whether a rendering holds a text, as it is or written as JSON: then its longest word at least."""
    return text in whole or max(_WORD.findall(text), key=len, default="") in whole


def _lost(place: str, what: str, value: str) -> BadTemplate:
    return BadTemplate(
        f"the chat template leaves out {what}, which would be lost",
        place=place,
        value=repr(value[:80]),
        remedy="name a template that writes them in data.chat_template (chatml does), or take them out of the rows",
    )
