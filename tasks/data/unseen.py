"""Contents that a chat template can write and hardly look at, and Jinja as transformers sets it up, for these."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, NamedTuple, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What tests say of a content, which is text.
_TESTS = {
    **dict.fromkeys(("string", "defined", "iterable", "sequence"), True),
    **dict.fromkeys(("undefined", "none", "mapping", "number", "integer", "float", "boolean", "callable"), False),
}
_LOOKS = "str repr format len iter getitem hash eq ne lt le gt ge mod mul rmul int float index call html"


class Slot(NamedTuple):
    """Where the content of a message is written: as it is, or after a method of str that takes white space away."""

    message: int
    method: str = ""
    characters: str | None = None

    def text(self, contents: Sequence[str]) -> str:
        """What is written there."""
        content = contents[self.message]
        return getattr(content, self.method)(self.characters) if self.method else content


class Question(NamedTuple):
    """Something that a template asks of a content: `method` is a method of str that answers it."""

    slot: Slot
    method: str
    text: str

    def denied(self, contents: Sequence[str]) -> bool:
        """Whether the answer is no."""
        return not getattr(self.slot.text(contents), self.method)(self.text)


class Seen(BaseException):
    """A template looked at a content. No Exception: Jinja answers some of these by itself."""


class Unseen:
    """Text of which only some pieces are known: it can be written and put together, and is asked little. `asked` collects
    the questions to which the answer was no."""

    def __init__(self, pieces: Iterable[str | Slot], asked: set[Question]) -> None:
        self.pieces, self.asked = tuple(pieces), asked

    def __add__(self, other: object) -> "Unseen":
        return Unseen((*self.pieces, *pieces_of(other)), self.asked)

    def __radd__(self, other: object) -> "Unseen":
        return Unseen((*pieces_of(other), *self.pieces), self.asked)

    def __getattr__(self, name: str) -> NoReturn:
        raise Seen(name)

    def __bool__(self) -> bool:
        return not self._ask("__eq__", "")

    def __contains__(self, text: object) -> bool:
        return self._ask("__contains__", text)

    def startswith(self, text: object) -> bool:
        """As str.startswith."""
        return self._ask("startswith", text)

    def endswith(self, text: object) -> bool:
        """As str.endswith."""
        return self._ask("endswith", text)

    def strip(self, characters: str | None = None) -> "Unseen":
        """As str.strip of white space."""
        return self._cut("strip", characters)

    def lstrip(self, characters: str | None = None) -> "Unseen":
        """As str.lstrip of white space."""
        return self._cut("lstrip", characters)

    def rstrip(self, characters: str | None = None) -> "Unseen":
        """As str.rstrip of white space."""
        return self._cut("rstrip", characters)

    def _ask(self, method: str, text: object) -> bool:
        (slot,) = self.pieces if len(self.pieces) == 1 else ("",)
        if not isinstance(slot, Slot) or not isinstance(text, str):
            raise Seen(method)
        self.asked.add(Question(slot, method, text))
        return False

    def _cut(self, method: str, characters: str | None) -> "Unseen":
        (slot,) = self.pieces if len(self.pieces) == 1 else ("",)
        if not isinstance(slot, Slot) or slot.method or (characters or "").strip():
            raise Seen(method)
        return Unseen([Slot(slot.message, method, characters)], self.asked)


def _look(self: Unseen, *_: object) -> NoReturn:
    raise Seen(self.pieces)


for _name in _LOOKS.split():
    setattr(Unseen, f"__{_name}__", _look)


def pieces_of(value: object) -> tuple[str | Slot, ...]:
    """The pieces of text; Seen where it is no text."""
    if isinstance(value, Unseen):
        return value.pieces
    if isinstance(value, str):
        return (value,)
    raise Seen(value)


def _concat(values: Iterable[object]) -> object:
    """What Jinja makes of all that a template, or a part of it, writes."""
    written = list(values)
    if not any(isinstance(value, Unseen) for value in written):
        return "".join(map(str, written))
    asked = next(value.asked for value in written if isinstance(value, Unseen))
    return Unseen(
        (piece for value in written for piece in pieces_of(value if isinstance(value, Unseen) else str(value))), asked
    )


class _Code(NativeCodeGenerator):
    """Python that makes no str of what it writes."""

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        """a ~ b."""
        self.write("concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}, which says what is learned and writes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Any) -> nodes.Node:
        """The block as its body."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up, for contents that nobody can look at."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.code_generator_class = _Code
    made.concat = _concat  # type: ignore[method-assign,assignment]  # what templates write is no str here
    tests: dict[str, Any] = made.tests
    filters: dict[str, Any] = made.filters
    made.tests = {name: _guarded(test, _tested(name)) for name, test in tests.items()}
    made.filters = {name: _guarded(filter_, _written(name)) for name, filter_ in filters.items()}
    made.globals["raise_exception"] = _refuse
    return made


def _tested(name: str) -> Callable[[Unseen], object]:
    if name not in _TESTS:
        return _look
    return lambda _: _TESTS[name]


def _written(name: str) -> Callable[[Unseen], object]:
    known: dict[str, Callable[[Unseen], object]] = {"trim": Unseen.strip, "string": lambda value: value}
    return known.get(name, _look)


def _guarded(function: Callable[..., Any], known: Callable[[Unseen], object]) -> Callable[..., Any]:
    """A filter or test that is asked of a content only what is known of it."""

    @wraps(function)
    def asked(*given: Any, **named: Any) -> Any:
        unseen = [value for value in (*given, *named.values()) if isinstance(value, Unseen)]
        if not unseen:
            return function(*given, **named)
        if (len(given) > 1 and given[-1] is not unseen[0]) or named or len(unseen) > 1:
            raise Seen(function)
        return known(unseen[0])

    return asked


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
