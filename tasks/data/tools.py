"""Tools in rows: their schemas, calls of them, and which answer belongs to which call."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from tasks.data.rows import BadRow, Message, decoded, listed

DEEPEST = 64  # levels of nesting that a schema or an argument may have


def schemas(tools: object) -> tuple[dict[str, Any], ...]:
    """The tools of a row, as a list or as JSON; a bare function is put into {"type": "function", "function": …}."""
    if not tools or (isinstance(tools, str) and not tools.strip()):
        return ()
    found = decoded(tools, "tools") if isinstance(tools, str) else tools
    items = listed([found] if isinstance(found, Mapping) else found or [], "tools")
    made = [decoded(item, f"tool {number}") if isinstance(item, str) else item for number, item in enumerate(items)]
    return tuple(_schema(item, number) for number, item in enumerate(made))


def _schema(item: object, number: int) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadRow(f"tool {number} must be a JSON schema, not {_kind(item)}")
    _require_json(item, f"tool {number}")
    if "function" not in item and isinstance(item.get("name"), str):
        return {"type": "function", "function": item}
    return item


def calls_of(value: object, number: int) -> list[dict[str, Any]]:
    """Calls of tools: a list, one call, or JSON of either."""
    if value is None or value == "":
        return []
    what = f"message {number}: the tool call"
    found = decoded(value, what) if isinstance(value, str) else value
    return [_call(item, what) for item in (found if isinstance(found, list) else [found])]


def _call(item: object, what: str) -> dict[str, Any]:
    inner = item.get("function", item) if isinstance(item, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(inner, Mapping) or not isinstance(name, str) or not name:
        raise BadRow(f"{what} must be an object with name and arguments")
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str) and arguments.strip():
        arguments = decoded(arguments, f"{what}'s arguments")
    if arguments is None or arguments == "":
        arguments = {}
    if not isinstance(arguments, dict):
        raise BadRow(f"{what}'s arguments must be an object, not {_kind(arguments)}")
    _require_json(arguments, f"{what}'s arguments")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call | {"id": item["id"]} if isinstance(item.get("id"), str) else call


def _require_json(value: object, what: str) -> None:
    """BadRow where a value could not be written as JSON again: Parquet has dates, Python's reader takes NaN."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise BadRow(f"{what} is nested more than {DEEPEST} deep")
        if isinstance(item, dict | list):
            waiting.extend((held, depth + 1) for held in (item.values() if isinstance(item, dict) else item))
        elif not isinstance(item, str | int | float | None) or (type(item) is float and not isfinite(item)):
            raise BadRow(f"{what} holds what JSON cannot say ({_kind(item)})")


def require_calls(messages: Sequence[Message]) -> None:
    """BadRow where a tool answers that nobody called."""
    waiting: list[str | None] = []  # the ids of the calls that have no answer yet
    before = ""
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "assistant":
            calls = [call.get("id") for call in message.get("tool_calls", ())]
            waiting = waiting + calls if before == "assistant" else calls
        elif role != "tool":
            waiting = []
        elif not waiting:
            raise BadRow(f"message {number} is a tool's answer to no call")
        else:
            _answer(waiting, message.get("tool_call_id"), number)
        before = role


def _answer(waiting: list[str | None], answered: str | None, number: int) -> None:
    if answered in waiting:
        waiting.remove(answered)
    elif answered is None or None in waiting:
        waiting.pop(0)
    else:
        raise BadRow(f"message {number} answers the call {answered[:40]!r}, which nobody made")


def _kind(value: object) -> str:
    return str(value) if isinstance(value, float) else type(value).__name__
