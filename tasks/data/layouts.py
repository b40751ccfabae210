"""The layouts in which rows come, told by their columns: a table with one line a layout."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import BadData
from tasks.data.rows import BadRow, Plain, Row, Text, chat

_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bard", "bing"), "assistant"),
    "system": "system",
}
_TOOLS = ("function_call", "observation", "tool", "function")
_STRUCTURED = ("messages", "conversations", "history")  # in CSV these are JSON

MOST = 100  # different sets of columns that are remembered, and columns that are reported as unused

Value = Mapping[str, Any]


def _messages(value: Value) -> Row:
    return chat(value["messages"], [])


def _sharegpt(value: Value) -> Row:
    turns = value["conversations"]
    if not isinstance(turns, list):
        raise BadRow(f"conversations must be a list, not {type(turns).__name__}")
    return chat([*_system(value), *(_turn(turn, number) for number, turn in enumerate(turns))], [])


def _turn(turn: object, number: int) -> object:
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn  # many write role and content here too; what is neither is refused there
    speaker = str(turn["from"])
    if speaker in _TOOLS:
        raise BadRow(f"turn {number} is from {speaker!r}: tool calls cannot be learned yet")
    if speaker not in _SPEAKERS:
        raise BadRow(f"turn {number} is from {speaker[:40]!r}; accepted: {', '.join(_SPEAKERS)}")
    return {"role": _SPEAKERS[speaker], "content": turn.get("value")}


def _alpaca(value: Value) -> Row:
    """Earlier turns, as pairs of instruction and output, are learned too."""
    messages = _system(value)
    for pair in value.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRow("history must be a list of pairs: instruction and output")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    asked = [part for name in ("instruction", "input") if (part := value.get(name))]
    if not all(isinstance(part, str) for part in asked):
        raise BadRow("instruction and input must be strings")
    messages += [
        {"role": "user", "content": "\n".join(asked)},
        {"role": "assistant", "content": value["output"]},
    ]
    return chat(messages, [])


def _system(value: Value) -> list[object]:
    return [{"role": "system", "content": value["system"]}] if value.get("system") else []


def _prompt_completion(value: Value) -> Row:
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return chat(completion, prompt)
    if not isinstance(prompt, str) or not isinstance(completion, str):
        kinds = f"{type(prompt).__name__} and {type(completion).__name__}"
        raise BadRow(f"prompt and completion must both be strings or both be lists of messages, not {kinds}")
    if not completion:
        raise BadRow("the completion is empty")
    return Plain(prompt, completion)


def _text(value: Value) -> Row:
    text = value["text"]
    if not isinstance(text, str):
        raise BadRow(f"text must be a string, not {type(text).__name__}")
    if not text.strip():
        raise BadRow("the text is empty")
    return Text(text)


@dataclass(frozen=True)
class Layout:
    """Columns that a row must and may have, and how it is made of them."""

    make: Callable[[Value], Row]
    required: frozenset[str]
    optional: frozenset[str] = frozenset()


LAYOUTS = {
    "messages": Layout(_messages, frozenset({"messages"})),
    "sharegpt": Layout(_sharegpt, frozenset({"conversations"}), frozenset({"system"})),
    "alpaca": Layout(_alpaca, frozenset({"instruction", "output"}), frozenset({"input", "system", "history"})),
    "prompt_completion": Layout(_prompt_completion, frozenset({"prompt", "completion"})),
    "text": Layout(_text, frozenset({"text"})),
}
FIELDS = frozenset().union(*(layout.required | layout.optional for layout in LAYOUTS.values()))
_ACCEPTED = "; ".join(f"{name}: {', '.join(sorted(layout.required))}" for name, layout in LAYOUTS.items())


class Shape:
    """How a recipe's rows are to be read: in one layout or whichever fits, with columns of other names.

    `columns` maps a layout's fields to the columns that hold them. `unused` collects the columns that nothing asks for.
    """

    def __init__(self, wanted: str = "auto", columns: Mapping[str, str] | None = None) -> None:
        self._layouts = LAYOUTS if wanted == "auto" else {wanted: LAYOUTS[wanted]}
        self._columns = dict(columns or {})
        self._fields = {column: field for field, column in self._columns.items()}
        self._known: dict[tuple[Any, ...], Layout] = {}
        self.unused: set[str] = set()

    def require(self, columns: Collection[str], place: str) -> None:
        """BadData where a file's columns cannot be rows of any layout, or of several."""
        try:
            if len(set(columns)) < len(columns):
                raise BadRow("has two columns of one name")
            self._layout(tuple(columns))
        except BadRow as error:
            raise BadData(
                f"the file {error}",
                place=place,
                value=", ".join(columns),
                remedy="name the layout in data.format, and columns of other names in data.columns",
            ) from None

    def parse(self, value: object) -> Row:
        """A row from decoded JSON; BadRow says what is wrong with it."""
        if not isinstance(value, Mapping):
            raise BadRow(f"a row must be an object, not {type(value).__name__}")
        layout = self._layout(tuple(value))
        return layout.make({self._field(at): held for at, held in value.items()} if self._columns else value)

    def decoded(self, cells: dict[str, Any]) -> dict[str, Any]:
        """A row of text cells with the JSON in it read; ValueError or RecursionError where it is none."""
        structured = {self._columns.get(field, field) for field in _STRUCTURED}
        return {name: json.loads(cell) if name in structured and cell.strip() else cell for name, cell in cells.items()}

    def _field(self, column: str) -> str:
        # A column that is mapped elsewhere is not also the field of its own name.
        return self._fields.get(column, "" if column in self._columns else column)

    def _layout(self, names: tuple[Any, ...]) -> Layout:
        known = self._known.get(names)
        if known is None:
            known = self._fitting(set(map(str, names)))
            if len(self._known) < MOST:  # rows may all have other columns
                self._known[names] = known
        return known

    def _fitting(self, columns: set[str]) -> Layout:
        if lacking := set(self._columns.values()) - columns:
            raise BadRow(f"lacks the column {', '.join(sorted(lacking))}, which data.columns names")
        fields = {self._field(column) for column in columns}
        fitting = {name: layout for name, layout in self._layouts.items() if layout.required <= fields}
        if not fitting:
            raise BadRow(f"has the columns {', '.join(sorted(columns))}; accepted: {_ACCEPTED}")
        if len(fitting) > 1:
            raise BadRow(f"has the columns of several layouts ({', '.join(fitting)}): data.format must say which")
        (layout,) = fitting.values()
        if len(self.unused) < MOST:
            self.unused |= {at for at in columns if self._field(at) not in layout.required | layout.optional}
        return layout
