"""What docs/recipes.md must say of every field, computed from the config classes."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infra.frozen import NotInKey
from infra.launch.resources import Resources
from pipelines.recipe import Recipe

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class Row(NamedTuple):
    """One row of a table: the cells as they stand in Markdown. `meaning` is empty where the class says nothing."""

    field: str
    values: str
    default: str
    key: str
    meaning: str

    def line(self) -> str:
        """The row as Markdown."""
        return "| " + " | ".join(self) + " |"


def rows(section: str = "", model: type[BaseModel] = Recipe) -> Iterator[Row]:
    """Every field below a section in order, dotted; `[]` marks a list of objects. Members of a union are merged."""
    seen: set[str] = set()
    for name, field in model.model_fields.items():
        yield from _of_field(section + (field.alias or name), field, seen)


def _of_field(name: str, field: FieldInfo, seen: set[str]) -> Iterator[Row]:
    inner, many = _models(field.annotation)
    if inner == [Resources] and not name.startswith("train."):  # told once, where they are most used
        yield Row(f"`{name}`", _values(field), "–", "no", field.description or "")
        return
    if not inner or _plain(field.annotation):
        key = "no" if any(mark is NotInKey or isinstance(mark, NotInKey) for mark in field.metadata) else "yes"
        yield Row(f"`{name}`", _values(field), _default(field), key, field.description or "")
    if _plain(field.annotation):  # what a second list may hold beside text is told at the first
        inner = [model for model in inner if model.__name__ not in seen]
        seen.update(model.__name__ for model in inner)
    made: dict[str, Row] = {}
    for model in inner:
        for row in rows(f"{name}{'[]' if many else ''}.", model):
            if row.field in made and row.field != f"`{name}.method`":
                made[row.field] = _both(made[row.field], row)
            elif row.field not in seen:
                seen.add(row.field)
                made[row.field] = row
    if len(inner) > 1 and f"`{name}.method`" in made:
        made[f"`{name}.method`"] = _method(inner, made[f"`{name}.method`"], field)
    yield from made.values()


def _both(first: Row, second: Row) -> Row:
    """What two members of a union say of a field of one name."""
    return Row(*(one if one == other else f"{one}; {other}" for one, other in zip(first, second, strict=True)))


def _method(inner: list[type[BaseModel]], row: Row, field: FieldInfo) -> Row:
    """The tag of a union: every member's values, and the one that stands where the recipe chooses none."""
    values = [value for model in inner for value in get_args(model.model_fields["method"].annotation)]
    chosen = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True).method}`"
    return row._replace(values=", ".join(f"`{value}`" for value in values), default=chosen)


def _models(annotation: Any) -> tuple[list[type[BaseModel]], bool]:
    if get_origin(annotation) is list:
        return _models(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_models(part) for part in get_args(annotation)]
        return [model for found, _ in parts for model in found], any(many for _, many in parts)
    return ([annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []), False


def _plain(annotation: Any) -> bool:
    """Whether a value may also be text where it may be an object."""
    inner = get_args(annotation)
    return annotation is str or any(_plain(part) for part in inner if get_origin(annotation) is not dict)


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(mark, name):g}"
        for mark in field.metadata
        for name, sign in _BOUNDS.items()
        if isinstance(getattr(mark, name, None), int | float)
    ]
    return " ".join([_kind(field.annotation), ", ".join(bounds)]).strip()


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin in (dict, Mapping):
        return "mapping"
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in inner if part is not types.NoneType)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _KINDS.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    return "–" if value in (None, {}, []) else f"`{str(value).lower() if isinstance(value, bool) else value}`"
