"""The one base of every value: immutable, no unknown fields, one canonical form to hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

SEAL = "seal"


class NotInKey:
    """Marks a field that changes where or how fast a stage runs, never what it makes: `Annotated[int, NotInKey()]`."""


class Frozen(BaseModel):
    """A value: compared by content, safe to share, and with a typo refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def material(self) -> dict[str, Any]:
        """The JSON form without the fields marked NotInKey, at any depth: what an input key is made of."""
        dumped = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            if any(mark is NotInKey or isinstance(mark, NotInKey) for mark in field.metadata):
                del dumped[name]
            else:
                dumped[name] = _material(getattr(self, name), dumped[name])
        return dumped


def _material(value: object, dumped: Any) -> Any:
    if isinstance(value, Frozen):
        return value.material()
    if isinstance(value, list | tuple):
        return [_material(item, form) for item, form in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping):
        return {key: _material(item, form) for item, (key, form) in zip(value.values(), dumped.items(), strict=True)}
    if isinstance(value, set | frozenset):
        return sorted(dumped, key=canonical)  # a set's own order changes from process to process
    return dumped


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, so that equal values are equal bytes; NaN raises ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """The sha256 (hex) of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sealed(value: Mapping[str, Any]) -> bytes:
    """The canonical form with its own digest in it, so that one flipped bit anywhere shows."""
    return canonical({**value, SEAL: digest(value)})


def unsealed(data: bytes) -> dict[str, Any]:
    """What was sealed; ValueError where these are other bytes. A record that was written before seals has none."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    seal = value.pop(SEAL, None)
    if seal is not None and data != sealed(value):
        raise ValueError("the seal does not fit")
    return value
