"""Find and redact what must not be learned: personal data and secrets (kinds.py).

One automaton of all patterns passes over a row's text once, at about a nanosecond a character; only where it stops does anything else
look. Nothing here ever shows a secret: a hit says its kind, its first two characters and its length.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import re2

from tasks.data.kinds import KINDS, Check
from tasks.data.rows import Row
from tasks.data.texts import encoded, mapped, texts


class Hit(NamedTuple):
    """One thing found in a text, as it may be shown."""

    kind: str
    masked: str


class _Found(NamedTuple):
    kind: str
    start: int  # bytes
    end: int


def scan(row: Row) -> Counter[str]:
    """How often each kind is in the row; empty for a clean one, which costs one pass over its text."""
    if not _suspicious(row):
        return Counter()
    return Counter(found.kind for text in texts(row) for found in _find(encoded(text)))


def hits(row: Row) -> list[Hit]:
    """What was found, in reading order and masked: fit for a report."""
    if not _suspicious(row):
        return []
    return [_masked(data, found) for data in map(encoded, texts(row)) for found in _find(data)]


def redact(row: Row) -> tuple[Row, Counter[str]]:
    """The row with a mark such as `[EMAIL]` for everything that was found, and the counts; a clean row is itself.

    In a redacted row nothing is found.
    """
    counts: Counter[str] = Counter()
    if not _suspicious(row):
        return row, counts

    def clean(text: str) -> str:
        data = encoded(text)
        # Again, because what stood beside a hit may count once a mark stands there; every round takes away text.
        while found := _find(data):
            counts.update(item.kind for item in found)
            data = b"".join(_marked(data, found))
        return data.decode("utf-8", "surrogatepass")

    made = mapped(row, clean)
    return (made if counts else row), counts


def _suspicious(row: Row) -> bool:
    return _any().search(encoded("\n".join(texts(row)))) is not None


def _find(data: bytes) -> list[_Found]:
    """What is found in one text, in its order; where two overlap, the earlier kind of the table."""
    taken, covered = [], bytearray(len(data))
    for number in sorted(_hints().Match(data) or ()):
        kind = KINDS[number]
        for start, end in _checked(_compiled()[number], kind.check, data):
            if covered.find(1, start, end) < 0:
                covered[start:end] = b"\1" * (end - start)
                taken.append(_Found(kind.name, start, end))
    return sorted(taken, key=lambda found: found.start)


def _checked(pattern: Any, check: Check, data: bytes) -> Iterator[tuple[int, int]]:
    position = 0
    while match := pattern.search(data, position):
        start, end = match.span()
        if span := check(data, start, end):
            yield span
            position = max(span[1], start + 1)
        else:
            position = start + 1
            while position < end and data[position - 1 : position].isalnum():
                position += 1


def _marked(data: bytes, found: list[_Found]) -> Iterator[bytes]:
    position = 0
    for item in found:
        yield data[position : item.start]
        yield f"[{item.kind}]".encode()
        position = item.end
    yield data[position:]


def _masked(data: bytes, found: _Found) -> Hit:
    text = data[found.start : found.end].decode("utf-8", "replace")
    return Hit(found.kind, f"{text[:2]}… ({len(text)} characters)")


@cache
def _any() -> Any:
    options = re2.Options()
    options.never_capture = True
    return re2.compile("|".join(f"(?:{kind.hint})" for kind in KINDS).encode(), options)


@cache
def _hints() -> Any:
    made = re2.Set.SearchSet()
    for kind in KINDS:
        made.Add(kind.hint.encode())
    made.Compile()
    return made


@cache
def _compiled() -> list[Any]:
    return [re2.compile(kind.pattern.encode()) for kind in KINDS]
