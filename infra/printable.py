"""Text on its way to people: what could steer a terminal is left out, and bytes get their unit."""

import re
import unicodedata

_KEPT = "\n\t"
_STEERING = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # they reorder what is read


def clean(text: str) -> str:
    """The text without control characters (escape sequences lose their escape) and without marks that reorder it."""
    return "".join(char for char in text if char in _KEPT or not _steers(char))


def line(text: str) -> str:
    """The same on one line: for names, tags and cells of a table."""
    return " ".join(clean(text).split())


def inert(text: str) -> str:
    """The same as Markdown in which nothing becomes a link, a picture or HTML; headings, tables and code stay."""
    return re.sub(r"[\\\[\]<>]", r"\\\g<0>", clean(text))


def size(number: int) -> str:
    """Bytes in the unit that people use for them."""
    value, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def _steers(char: str) -> bool:
    return char in _STEERING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
