"""What Arrow adds to rows: all objects of a column get the keys that any of them has, as null."""

from typing import Any

_READ = {"role", "content", "from", "value"}


def padded(schema: Any) -> list[str]:
    """The columns of an Arrow schema whose objects may have got keys that they had not.

    Of messages with nothing but role and content it is not worth the time: their reader takes null for absent.
    """
    return [field.name for field in schema if _may_be(field.type)]


def unpadded(value: Any) -> Any:
    """A value without the keys that are null, at any depth; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: unpadded(held) for key, held in value.items() if held is not None}
    return [unpadded(item) for item in value] if isinstance(value, list) else value


def _may_be(kind: Any) -> bool:
    fields = [kind.field(number) for number in range(kind.num_fields)]
    if str(kind).startswith("struct<") and not {field.name for field in fields} <= _READ:
        return True
    return any(_may_be(field.type) for field in fields)
