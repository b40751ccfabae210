"""The texts of a row, whatever its kind: to look through, and to rewrite one by one."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tasks.data.rows import Chat, Labelled, Plain, Preference, Row, Text

# Han, kana, Thai, Lao, Burmese, Khmer: written without spaces, so every character counts as a word.
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def texts(row: Row) -> Iterator[str]:
    """What a person or a model wrote: contents, reasoning and the arguments of tool calls, in reading order; of a pair
    what both answer once only."""
    if isinstance(row, Preference):
        yield from texts(row.chosen)
        yield from _answer(row.rejected)
    elif isinstance(row, Labelled):
        yield from texts(row.row)
    elif isinstance(row, Text):
        yield row.text
    elif isinstance(row, Chat):
        for message in row.messages:
            yield from _of_message(message)
    else:
        yield row.prompt
        yield row.completion


def mapped(row: Row, function: Callable[[str], str]) -> Row:
    """The row with every one of its texts rewritten, at any depth of a tool call's arguments; names and keys stay."""
    if isinstance(row, Preference):
        return Preference(_rewritten_answer(row.chosen, function), _rewritten_answer(row.rejected, function))
    if isinstance(row, Labelled):
        return replace(row, row=_rewritten_answer(row.row, function))
    if isinstance(row, Text):
        return replace(row, text=function(row.text))
    return _rewritten_answer(row, function)


def compared(row: Row) -> str:
    """The text by which rows are alike: without what the system says, which many rows of a set share word by word."""
    if isinstance(row, Preference):
        return "\n".join([compared(row.chosen), *_answer(row.rejected)])
    if isinstance(row, Labelled):
        return compared(row.row)
    if isinstance(row, Chat):
        spoken = [message for message in row.messages if message["role"] != "system"]
        return "\n".join(text for message in spoken for text in _of_message(message))
    return "\n".join(texts(row))


def spaced(text: str) -> str:
    """The text with spaces around the characters of scripts that have none between words."""
    return text if text.isascii() else _SPACELESS.sub(r" \g<0> ", text)


def encoded(text: str) -> bytes:
    """UTF-8; half a character (a lone surrogate), which JSON can hold, does not stop it."""
    return text.encode("utf-8", "surrogatepass")


def _answer(row: Chat | Plain) -> Iterator[str]:
    """What comes behind the prompt of a judged answer."""
    if isinstance(row, Plain):
        yield row.completion
    else:
        for message in row.messages[row.given :]:
            yield from _of_message(message)


def _rewritten_answer(row: Chat | Plain, function: Callable[[str], str]) -> Chat | Plain:
    if isinstance(row, Chat):
        return replace(row, messages=[_message(message, function) for message in row.messages])
    return replace(row, prompt=function(row.prompt), completion=function(row.completion))


def _of_message(message: dict[str, Any]) -> Iterator[str]:
    if reasoning := message.get("reasoning_content"):
        yield reasoning
    if content := message.get("content"):
        yield content
    for call in message.get("tool_calls") or ():
        yield from _leaves(call["function"]["arguments"])


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)


def _message(message: dict[str, Any], function: Callable[[str], str]) -> dict[str, Any]:
    made = dict(message)
    for name in ("reasoning_content", "content"):
        if made.get(name):
            made[name] = function(made[name])
    if calls := made.get("tool_calls"):
        made["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _rewritten(call["function"]["arguments"], function)}}
            for call in calls
        ]
    return made


def _rewritten(value: Any, function: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {key: _rewritten(inner, function) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rewritten(inner, function) for inner in value]
    return value
