"""The layouts in which rows come, told by their columns: a table with one line a layout."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from infra.errors import BadData
from tasks.data.judgements import labelled, preference
from tasks.data.messages import KEYS, Speech
from tasks.data.rows import BadRow, Judged, Plain, Row, Single, Text, listed

if TYPE_CHECKING:
    from tasks.data.row_templates import RowTemplate

STRUCTURED = frozenset({"messages", "conversations", "history", "tools"})  # in CSV these are JSON

MOST = 100  # different sets of columns that are remembered, and columns that are reported as unused

Value = Mapping[str, Any]


def _messages(speech: Speech, value: Value) -> Single:
    return _talk(speech, value, listed(value["messages"], "messages"))


def _sharegpt(speech: Speech, value: Value) -> Single:
    return _talk(speech, value, listed(value["conversations"], "conversations"))


def _talk(speech: Speech, value: Value, turns: Sequence[object]) -> Single:
    """A conversation; of two system messages its own counts, as in LLaMA-Factory."""
    if value.get("system") and not (turns and isinstance(turns[0], Mapping) and speech.role(turns[0], 0) == "system"):
        turns = [*_system(value), *turns]
    return speech.chat(turns, (), value.get("tools"))


def _alpaca(speech: Speech, value: Value) -> Single:
    """Earlier turns, as pairs of instruction and output, are learned too."""
    answer = {"role": "assistant", "content": value["output"]}
    return speech.chat([*_asked(value), answer], (), value.get("tools"))


def _asked(value: Value) -> list[object]:
    """The messages that system, history, instruction and input make."""
    messages = _system(value)
    for pair in listed(value.get("history") or [], "history"):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRow("history must be a list of pairs: instruction and output")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    asked = [part for name in ("instruction", "input") if (part := value.get(name))]
    if not all(isinstance(part, str) for part in asked):
        raise BadRow("instruction and input must be strings")
    return [*messages, {"role": "user", "content": "\n".join(asked)}] if asked or "instruction" in value else messages


def _system(value: Value) -> list[object]:
    return [{"role": "system", "content": value["system"]}] if value.get("system") else []


def _prompt_completion(speech: Speech, value: Value) -> Single:
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return speech.chat(completion, prompt, value.get("tools"))
    if not isinstance(prompt, str) or not isinstance(completion, str):
        kinds = f"{type(prompt).__name__} and {type(completion).__name__}"
        raise BadRow(f"prompt and completion must both be strings or both be lists of messages, not {kinds}")
    if not completion:
        raise BadRow("the completion is empty")
    return Plain(prompt, completion)


def _text(_: Speech, value: Value) -> Single:
    text = value["text"]
    if not isinstance(text, str):
        raise BadRow(f"text must be a string, not {type(text).__name__}")
    if not text.strip():
        raise BadRow("the text is empty")
    return Text(text)


def _preference(speech: Speech, value: Value) -> Judged:
    return preference(speech, value, _asked(value))


def _labelled(speech: Speech, value: Value) -> Judged:
    made = [make for make, fields in _ANSWERS if fields <= value.keys()]
    if len(made) > 1:
        raise BadRow("holds more than one answer for its label")
    return labelled(made[0](speech, value), value["label"])


@dataclass(frozen=True)
class Layout:
    """Columns that a row must have (one of several sets) and may have, and how it is made of them."""

    make: Callable[[Speech, Value], Row]
    required: tuple[frozenset[str], ...]
    optional: frozenset[str] = frozenset()

    @property
    def fields(self) -> frozenset[str]:
        """All columns that mean something in it."""
        return self.optional.union(*self.required)

    def fits(self, fields: Collection[str]) -> bool:
        """Whether a row of these columns is of this layout."""
        return any(needed <= set(fields) for needed in self.required)


def _sets(*columns: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names.split()) for names in columns)


_ANSWERS: tuple[tuple[Callable[[Speech, Value], Single], frozenset[str]], ...] = (
    (_messages, frozenset({"messages"})),
    (_sharegpt, frozenset({"conversations"})),
    (_alpaca, frozenset({"instruction", "output"})),
    (_prompt_completion, frozenset({"prompt", "completion"})),
)
_BESIDE = frozenset({"system", "tools"})
LAYOUTS = {
    "messages": Layout(_messages, _sets("messages"), _BESIDE),
    "sharegpt": Layout(_sharegpt, _sets("conversations"), _BESIDE),
    "alpaca": Layout(_alpaca, _sets("instruction output"), _BESIDE | {"input", "history"}),
    "prompt_completion": Layout(_prompt_completion, _sets("prompt completion"), frozenset({"tools"})),
    "text": Layout(_text, _sets("text")),
    "preference": Layout(
        _preference,
        _sets("chosen rejected"),
        _BESIDE | {"prompt", "messages", "conversations", "instruction", "input", "history"},
    ),
    "unpaired_preference": Layout(
        _labelled,
        tuple(fields | {"label"} for _, fields in _ANSWERS),
        _BESIDE | {"input", "history"},
    ),
}
FIELDS = frozenset().union(*(layout.fields for layout in LAYOUTS.values()), KEYS)
TEMPLATED = FIELDS - STRUCTURED - set(KEYS) - {"label"}  # fields that a template can write, as they are text
_ACCEPTED = "; ".join(
    f"{name}: {' or '.join(', '.join(sorted(needed)) for needed in layout.required)}"
    for name, layout in LAYOUTS.items()
)


class Readable(Protocol):
    """What says how rows are read."""

    @property
    def format(self) -> str | None: ...
    @property
    def columns(self) -> Mapping[str, str] | None: ...
    @property
    def roles(self) -> Mapping[str, str] | None: ...
    @property
    def row_templates(self) -> Mapping[str, str] | None: ...


class Shape:
    """How a source's rows are to be read: in one layout or whichever fits, with columns of other names.

    `columns` maps the fields of a layout or of a message to the columns or keys that hold them, `roles` names of
    speakers to roles, and `row_templates` fields to Jinja text over the row's columns (ValueError where it is none);
    where there are any, a row has the fields that they and `columns` name, and no others.
    `unused` collects the columns and the keys of messages that nothing asks for.
    """

    def __init__(
        self,
        wanted: str = "auto",
        columns: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        row_templates: Mapping[str, str] | None = None,
    ) -> None:
        self._layouts = LAYOUTS if wanted == "auto" else {wanted: LAYOUTS[wanted]}
        self._columns = {field: column for field, column in (columns or {}).items() if field not in KEYS}
        self._fields = {column: field for field, column in self._columns.items()}
        self._templates = _templates(row_templates or {})
        self._known: dict[tuple[Any, ...], Layout] = {}
        self._speech = Speech(roles or {}, {f: k for f, k in (columns or {}).items() if f in KEYS}, self._note)
        self.unused: set[str] = set()

    @classmethod
    def of(cls, source: Readable) -> "Shape":
        """How rows that have this to say of themselves are read."""
        return cls(source.format or "auto", source.columns, source.roles, source.row_templates)

    def require(self, columns: Collection[str], place: str) -> None:
        """BadData where a file's columns cannot be rows of any layout, or or of several."""
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
        return layout.make(self._speech, self._mapped(value) if self._columns or self._templates else value)

    def decoded(self, cells: dict[str, Any]) -> dict[str, Any]:
        """A row of text cells with the JSON in it read; ValueError or RecursionError where it is none."""
        structured = {self._columns.get(field, field) for field in STRUCTURED}
        return {name: json.loads(cell) if name in structured and cell.strip() else cell for name, cell in cells.items()}

    def _mapped(self, value: Value) -> Value:
        if not self._templates:
            return {self._field(at): held for at, held in value.items()}
        held = {field: value[column] for field, column in self._columns.items()}
        return held | {field: template.render(value) for field, template in self._templates.items()}

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
        if self._templates:
            fields = self._columns.keys() | self._templates.keys()
            told = f"gets the fields {', '.join(sorted(fields))} of data.row_templates and data.columns"
        else:
            fields = {self._field(column) for column in columns}
            told = f"has the columns {', '.join(sorted(columns))}"
        fitting = {name: layout for name, layout in self._layouts.items() if layout.fits(fields)}
        if not fitting:
            raise BadRow(f"{told}; accepted: {_ACCEPTED}")
        if len(fitting) > 1:
            raise BadRow(f"has the columns of several layouts ({', '.join(fitting)}): data.format must say which")
        (layout,) = fitting.values()
        if not self._templates:  # which columns these read is not known
            for column in columns:
                if self._field(column) not in layout.fields:
                    self._note(column)
        return layout

    def _note(self, unused: str) -> None:
        if len(self.unused) < MOST:
            self.unused.add(unused)


def _templates(texts: Mapping[str, str]) -> "dict[str, RowTemplate]":
    if not texts:
        return {}
    from tasks.data.row_templates import RowTemplate  # noqa: PLC0415 - most recipes have none, and Jinja loads slowly

    return {field: RowTemplate(field, text) for field, text in texts.items()}
