"""Which parts of which files become which shard: decided by the files alone, never by who does the work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import JsonValue

from infra.frozen import Frozen, NotInKey
from infra.launch.step import Step
from infra.storage.receipt import Receipt
from infra.storage.sources import Listed
from tasks.data import formats, sources
from tasks.data.config import DataConfig, Source, TextConfig
from tasks.data.reading import Part

VERSION = 3
SMALL = 8 * 2**20  # bytes; parts below are put together, so that a folder of small files is no folder of small shards
MOST = 1000  # parts of one shard


class Segment(Frozen):
    """A part of a source file that lies at `path`, itself or a copy. Reports call the file `name`.

    In files of lines the hash is that of the part's own bytes, so that a file that grows keeps its first shards; in
    others it is the whole file's, and `within` says what of it is meant.
    """

    sha256: str
    kind: str
    within: tuple[int, int] | None
    opens: bool
    part: Annotated[Part, NotInKey()]
    name: Annotated[str, NotInKey()]
    path: Annotated[Path, NotInKey()]
    origin: Annotated[Listed, NotInKey()]

    @property
    def place(self) -> str:
        """Where rows stand, up to the line."""
        return f"{self.name}:" if self.part.start == 0 else f"{self.name}, behind {self.part.start:,}, line "


class Planned(Frozen):
    """A shard to be made: of the validation side or not, of which of its sources, of which segments.

    They stand for `size` bytes of the files as they lie.
    """

    validation: bool
    source: int
    text: TextConfig
    segments: tuple[Segment, ...]
    size: Annotated[int, NotInKey()]

    def step(self, tokenizer: Receipt, template_sha256: str) -> Step:
        """The shard's key: what it is made of, and no name or place."""
        material: dict[str, JsonValue] = {
            "segments": [segment.material() for segment in self.segments],
            "chat_template": template_sha256,
        }
        return Step("shard", VERSION, self.text, {"tokenizer": tokenizer}, material)


def shards(config: DataConfig, scratch: Path) -> Iterator[Planned]:
    """Every shard of the recipe in order, the validation side first.

    Files that lie elsewhere or are packed are copied into `scratch` as they are reached.
    """
    for validation in (True, False):
        for number, source in enumerate(config.sources(validation)):
            text, room = config.text(source), scratch / f"{'validation' if validation else 'train'}-{number}"
            for segments, size in _grouped(_segments(source, validation, room)):
                yield Planned(validation=validation, source=number, text=text, segments=segments, size=size)


def _segments(source: Source, validation: bool, scratch: Path) -> Iterator[tuple[Segment, int]]:
    """The segments of a source, and the bytes that each stands for."""
    for file in sources.of(source, validation):
        path = sources.fetch(file, scratch)
        for part in formats.parts(path, file.short, file.kind):
            segment = _segment(file, part, path)
            yield segment, file.size * (part.stop - part.start) // max(1, part.of)


def _segment(file: sources.Pinned, part: Part, path: Path) -> Segment:
    by_bytes = part.whole or formats.of_lines(file.kind)
    return Segment(
        sha256=sources.part_sha256(path, part.start, part.stop) if by_bytes and not part.whole else file.sha256,
        kind=file.kind,
        within=None if by_bytes else (part.start, part.stop),
        opens=part.start == 0,
        part=part,
        name=file.short,
        path=path,
        origin=file.file,
    )


def _grouped(segments: Iterator[tuple[Segment, int]]) -> Iterator[tuple[tuple[Segment, ...], int]]:
    group: list[Segment] = []
    held = 0
    for segment, size in segments:
        if group and (held + size > SMALL or len(group) == MOST):
            yield tuple(group), held
            group, held = [], 0
        group.append(segment)
        held += size
    if group:
        yield tuple(group), held
