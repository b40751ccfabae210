"""What reading is made of: a part of a file, and the account that a reader keeps while it goes through one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from infra.errors import BadData
from tasks.data.layouts import Shape
from tasks.data.rows import BadRow, Found, sample
from tasks.data.sources import DOCUMENTS

MAX_LINE = 32 * 2**20  # bytes of one row; it is held in memory whole
SMALLEST, LARGEST = 8 * 2**20, 256 * 2**20  # bytes of a part


@dataclass(frozen=True)
class Part:
    """A range of a file: of bytes in files of lines, of row groups in Parquet, of record batches in Arrow; `of` is how
    many of these the whole file has. A range of bytes starts and ends where lines do.
    """

    start: int
    stop: int
    of: int

    @property
    def whole(self) -> bool:
        """Whether this is all of the file."""
        return self.start == 0 and self.stop == self.of


@dataclass
class Reading:
    """Iterate over it for the rows. `lines` counts what was read of the part, blank lines too; after the last row it is
    what the part has. `done` is the same in the part's own units.
    """

    path: Path
    name: str
    kind: str
    shape: Shape
    part: Part
    reader: "Reader"
    lines: int = 0
    done: float = 0

    def __iter__(self) -> Iterator[Found]:
        rows = self.reader(self)
        first = next(rows, None)
        if first is not None:
            yield first
            yield from rows
        elif self.part.whole:
            raise BadData("the file has no rows", place=self.name, remedy="remove it from the recipe, or fill it")

    @property
    def share(self) -> float:
        """How much of the part was read, from 0 to 1."""
        return min(1.0, self.done / max(1, self.part.stop - self.part.start))

    def place(self, line: int) -> str:
        """Where a row of a whole file is, for people: `name:line`, in JSON and columns `name:row`."""
        return place(self.name, self.kind, line)

    def found(self, line: int, value: object, raw: bytes = b"") -> Found:
        """A decoded row in its layout, or why it has none; `raw` are its bytes, where they are known."""
        try:
            return Found(line, self.shape.parse(value))
        except BadRow as error:
            return Found(line, reason=str(error), sample=sample(raw or value))


def place(name: str, kind: str, line: int) -> str:
    """A row's place for people: `name:line`; a document is its file."""
    return name if kind in DOCUMENTS else f"{name}:{line}"


Reader = Callable[[Reading], Iterator[Found]]


def step(size: int) -> int:
    """Bytes of a part in a file of so many: a 64th, rounded up to a power of two, within bounds. It depends on nothing
    else, so that every machine cuts a file alike, and a file that grows keeps its first parts.
    """
    return min(max(SMALLEST, 1 << max(0, -(-size // 64) - 1).bit_length()), LARGEST)


def grouped(sizes: list[int]) -> list[Part]:
    """Neighbours of so many bytes each, put together into parts."""
    wanted, edges, held = step(sum(sizes)), [0], 0
    for number, size in enumerate(sizes, 1):
        held += size
        if held >= wanted:
            edges.append(number)
            held = 0
    if edges[-1] < len(sizes) or len(edges) == 1:
        edges.append(len(sizes))
    return [Part(a, b, len(sizes)) for a, b in pairwise(edges)]
