"""The kinds of files that rows come in, and how each is cut into parts and read: a table with one line a kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.data import columns, lines
from tasks.data.layouts import Shape
from tasks.data.reading import Part, Reader, Reading
from tasks.data.sources import suffix


@dataclass(frozen=True)
class Format:
    """How files of one kind are cut and read."""

    parts: Callable[[Path, str], list[Part]]
    reader: Reader


def _whole(path: Path, _name: str) -> list[Part]:
    size = path.stat().st_size
    return [Part(0, size, size)]


FORMATS = {
    ".jsonl": Format(lines.line_parts, lines.jsonl),
    ".ndjson": Format(lines.line_parts, lines.jsonl),
    ".json": Format(_whole, lines.json_list),
    ".csv": Format(_whole, lines.cells),
    ".tsv": Format(_whole, lines.cells),
    ".parquet": Format(columns.group_parts, columns.parquet),
    ".arrow": Format(columns.batch_parts, columns.arrow),
    ".feather": Format(columns.batch_parts, columns.arrow),
    ".txt": Format(_whole, lines.document),
    ".md": Format(_whole, lines.document),
}


def of_lines(kind: str) -> bool:
    """Whether a file of this kind is cut into ranges of bytes that say by themselves what they hold."""
    return FORMATS[kind].parts is lines.line_parts


def parts(path: Path, name: str, kind: str = "") -> list[Part]:
    """A file cut into parts that can be read by themselves, in order; one where its kind cannot be cut.

    Depends on the file alone, never on who reads it. BadData where it cannot be read at all.
    """
    return FORMATS[kind or suffix(path.name)].parts(path, name)


def read(path: Path, name: str, shape: Shape, kind: str = "", part: Part | None = None) -> Reading:
    """The rows of one part of a file in order, or of all of it; a row's line counts from 1 within the part.

    Rows that cannot be used come with a reason. BadData where the file as a whole cannot be read, has columns that
    are not known, or has no rows: the last only where the part is all of the file.
    """
    kind = kind or suffix(path.name)
    if part is None:
        cut = parts(path, name, kind)
        part = Part(0, cut[-1].of, cut[-1].of)
    return Reading(path, name, kind, shape, part, FORMATS[kind].reader)
