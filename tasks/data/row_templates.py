"""Fields of a row, written by a recipe's own Jinja templates over the columns of the row.

The language is small on purpose. What a row holds is never a template, but it may be large or built to do harm, and
must not turn a template into hours of work or a machine full of text. There are output, if, for and set; filters and
methods that do not grow what they are given; and one purse of work that each row has to live on.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from tasks.data.rows import BadRow

LARGEST = 32 * 2**20  # characters of one field, as of one line of a file
WORK = 2**28  # what one field of one row may spend; a second, about. A filter costs the size of what it is given,
ROUND = 2**11  # and a round of a loop this, so that there are some 130,000 of them

_NODES = (
    *("Template", "Output", "TemplateData", "For", "If", "CondExpr", "Assign", "Const", "Name", "Getattr", "Getitem"),
    *("Slice", "List", "Tuple", "Dict", "Pair", "Keyword", "Call", "Filter", "Test", "And", "Or", "Not", "Compare"),
    *("Operand", "Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Neg", "Pos", "Concat"),
)
_METHODS = (
    *("strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "rsplit", "splitlines"),
    *("startswith", "endswith", "removeprefix", "removesuffix", "find", "count", "get", "items", "keys", "values"),
)
_FILTERS = (
    *("default", "d", "trim", "lower", "upper", "capitalize", "title", "length", "count", "first", "last", "list"),
    *("string", "int", "float", "round", "abs", "min", "max", "sort", "unique", "reverse", "items", "dictsort"),
    *("map", "select", "reject", "selectattr", "rejectattr", "truncate", "wordcount"),
)


class RowTemplate:
    """The template of one field; ValueError says what is wrong with its text. One thread at a time may use it."""

    def __init__(self, field: str, text: str) -> None:
        self._field = field
        self._environment = _Small()
        self._template = self._environment.small(text)

    def render(self, columns: Mapping[str, Any]) -> str:
        """The field of one row; BadRow names a column that is not there, or says what cannot be written."""
        self._environment.left = WORK
        try:
            return "".join(_limited(self._template.generate(columns)))
        except UndefinedError as error:
            reason = f"{error}; the row has the columns {', '.join(columns)}"
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = str(error)
        except RecursionError:
            reason = "the row is nested too deeply"
        raise BadRow(f"row_templates.{self._field}: {reason[:300]}")


class _Small(ImmutableSandboxedEnvironment):
    """Jinja with a purse: what grows or repeats is paid for."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, keep_trailing_newline=True, optimized=False, finalize=_writable, cache_size=0
        )
        self.left = WORK
        self.globals = {"range": self.globals["range"]}
        own: dict[str, Callable[..., Any]] = {"join": _join, "replace": _replace, "tojson": _json}
        self.filters = {name: self._paid(self.filters[name]) for name in _FILTERS}
        self.filters |= {name: self._paid(made) for name, made in own.items()}
        self.filters |= {"-rounds": self._rounds, "-concat": self._paid(_join)}

    def small(self, text: str) -> Template:
        """A template of the small language; ValueError where the text is of another."""
        try:
            tree = self.parse(text)
            for node in [tree, *tree.find_all(nodes.Node)]:
                _require_allowed(node)
            metered = _Metered().visit(tree)
            metered.set_environment(self)
            code = self.compile(metered, filename="row template")
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno}: {error.message}") from None
        return Template.from_code(self, code, self.make_globals(None))

    def pay(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise SecurityError("the template does too much work for one row")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            self.pay(_size(left) + _size(right))
            _require_small(_size(left) + _size(right))
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise SecurityError(f"{operator} is for numbers")
        return super().call_binop(context, operator, left, right)

    def _paid(self, made: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(made)
        def paid(*given: Any, **named: Any) -> Any:
            self.pay(sum(map(_size, given)))
            return made(*given, **named)

        return paid

    def _rounds(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.pay(ROUND)
            yield item


class _Metered(NodeTransformer):
    """Loops count their rounds, and `~` minds the size of what it makes."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "-rounds")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "-concat")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _require_allowed(node: nodes.Node) -> None:
    kind = type(node).__name__
    if kind not in _NODES:
        raise ValueError(f"line {node.lineno}: {kind.lower()} is not for row templates; if, for, set and filters are")
    if isinstance(node, nodes.For) and node.recursive:
        raise ValueError(f"line {node.lineno}: a loop cannot be recursive in a row template")
    if isinstance(node, nodes.Call):
        called = node.node
        method = isinstance(called, nodes.Getattr) and called.attr in _METHODS
        if not method and not (isinstance(called, nodes.Name) and called.name == "range"):
            raise ValueError(f"line {node.lineno}: only range() and these methods can be called: {', '.join(_METHODS)}")
        if node.dyn_args or node.dyn_kwargs:
            raise ValueError(f"line {node.lineno}: arguments cannot be unpacked in a row template")


def _limited(pieces: Iterable[str]) -> Iterator[str]:
    size = 0
    for piece in pieces:
        size += len(piece)
        _require_small(size)
        yield piece


def _require_small(size: int) -> None:
    if size > LARGEST:
        raise SecurityError(f"it writes more than {LARGEST >> 20} MB")


def _size(value: object) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def _writable(value: Any) -> Any:
    """What {{ … }} writes; Python's way of writing lists and null is nobody's training text."""
    if value is None:
        raise SecurityError("it writes a null; {{ column or '' }} leaves it empty")
    if not isinstance(value, str | int | float | Undefined):
        raise SecurityError(f"it writes a {type(value).__name__}; {{{{ column | tojson }}}} writes it as JSON")
    return value


def _join(items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    found = [item[attribute] if attribute is not None else item for item in items]
    texts = [str(_writable(item)) for item in found]
    _require_small(sum(map(len, texts)) + len(d) * len(texts))
    return d.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    _require_small(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _json(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise ValueError("tojson's indent is 0 to 8")
    return json.dumps(value, ensure_ascii=False, indent=indent)
