"""Where rows stand in their source files."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from tasks.data.plan import Planned
from tasks.data.reading import place
from tasks.data.shard import Told


class Problem(NamedTuple):
    """The place of a row, what became of it, the beginning of what stands there, and the row where there is one."""

    place: str
    text: str
    sample: str = ""
    row: int = -1


@dataclass(frozen=True)
class Made:
    """A shard as the index reads it: its plan, what it tells, its rows (ROW), and what is judged of them (JUDGED)."""

    planned: Planned
    told: Told
    rows: NDArray[np.void]
    judged: NDArray[np.void] | None = None


class Places:
    """Where rows stand in their files: a shard counts the lines of each of its segments only."""

    def __init__(self, shards: list[Made]) -> None:
        self._shards = shards
        self._before: list[list[int]] = []  # lines of the file before each segment of each shard
        lines = 0
        for made in shards:
            self._before.append([])
            for segment, count in zip(made.planned.segments, made.told.lines, strict=True):
                lines = 0 if segment.opens else lines
                self._before[-1].append(lines)
                lines += count

    def told(self) -> list[dict[str, JsonValue]]:
        """Of each shard its side, its source and its segments: the file's name and kind, and the lines before it."""
        return [
            {
                "validation": made.planned.validation,
                "source": made.planned.source,
                "segments": [
                    [at.name, at.kind, lines] for at, lines in zip(made.planned.segments, before, strict=True)
                ],
            }
            for made, before in zip(self._shards, self._before, strict=True)
        ]

    def of(self, shard: int, segment: int, line: int) -> str:
        """file:line, counted from 1; only the file where it is one document."""
        at = self._shards[shard].planned.segments[segment]
        return place(at.name, at.kind, self._before[shard][segment] + line)
