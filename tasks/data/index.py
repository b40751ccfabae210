"""All shards together → which rows train, which are held out, which are left out and why, and in what sequences.

Only what is known of each row is read here, some thirty bytes; tokens stay where they are.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadData
from tasks.data.config import DataConfig
from tasks.data.judged import DESIRABLE, JUDGED, Kind, Texts, kind
from tasks.data.places import Made, Places, Problem
from tasks.data.remedies import remedy
from tasks.data.shard import ROW, TEXT, Note
from tasks.data.sides import Lying, Side, Times, labels, pairs, plain
from tasks.data.similar import copies

SHOWN = 20
Flags = NDArray[np.bool_]


class Index:
    """Every row of every shard in reading order, as columns; rows leave by `drop`, and each is counted once."""

    def __init__(self, config: DataConfig, shards: list[Made]) -> None:
        self.config, self.shards, self.places = config, shards, Places(shards)
        counts = [len(made.rows) for made in shards]
        self.shard = np.repeat(np.arange(len(shards), dtype=np.uint32), counts)
        self.judged = _judged(shards)
        self.rows = _together(shards)
        self.begin = _begins(shards)
        self.validation: Flags = np.repeat(np.array([made.planned.validation for made in shards], dtype=bool), counts)
        self.source = np.repeat(np.array([made.planned.source for made in shards], dtype=np.uint32), counts)
        self.kept = np.ones(len(self.rows), dtype=bool)
        self.order = mixed(self.rows["print"], config.seed)
        self.total = sum(sum(made.told.rows) for made in shards)
        self.bad = sum(made.told.bad for made in shards)
        self.dropped: Counter[str] = sum((Counter(made.told.dropped) for made in shards), Counter())
        self.problems = {kind: self._noted(kind) for kind in ("bad", "dropped", "sensitive")} | {"truncated": []}
        self.sensitive: Counter[str] = sum((Counter(made.told.sensitive) for made in shards), Counter())
        self.truncated = self.split = 0

    def place(self, row: int) -> str:
        """Where a row stands: file:line."""
        shard, known = int(self.shard[row]), self.rows[row]
        return self.places.of(shard, int(known["segment"]), int(known["line"]))

    def _noted(self, kind: str) -> list[Problem]:
        notes = ((number, note) for number, made in enumerate(self.shards) for note in made.told.notes[kind])
        return [self._problem(number, note) for number, note in islice(notes, SHOWN)]

    def _problem(self, shard: int, note: Note) -> Problem:
        return Problem(self.places.of(shard, note.segment, note.line), note.text, note.sample)

    def quarantined(self) -> Iterator[Problem]:
        """Every bad row that the shards tell of."""
        return (self._problem(at, note) for at, made in enumerate(self.shards) for note in made.told.notes["bad"])

    def unused_columns(self) -> list[str]:
        """Columns that nothing asks for."""
        return sorted({name for made in self.shards for name in made.told.unused_columns})

    def require_rows_in_files(self) -> None:
        """BadData for a file that has none."""
        held: dict[tuple[Path, str], int] = {}
        for made in self.shards:
            for segment, rows in zip(made.planned.segments, made.told.rows, strict=True):
                held[segment.path, segment.name] = held.get((segment.path, segment.name), 0) + rows
        for (_, name), rows in held.items():
            if rows == 0:
                raise BadData("the file has no rows", place=name, remedy="remove it from the recipe, or fill it")

    def drop(self, rows: Flags, reason: str, detail: str = "") -> None:
        """Leave rows out; those that have left already are not counted again. `detail` may name {length}."""
        leaving = np.flatnonzero(rows & self.kept)
        if not len(leaving):
            return
        self.kept[leaving] = False
        self.dropped[reason] += len(leaving)
        for row in leaving[: SHOWN - len(self.problems["dropped"])].tolist():
            more = detail.format(length=self.rows["length"][row])
            self.problems["dropped"].append(Problem(self.place(row), reason + more, row=row))

    def choose(self, overlap: NDArray[np.uint64] | None) -> None:
        """Leave out what training must not see, or not twice."""
        prints, train = self.rows["print"], ~self.validation
        if self.validation.any():
            self.drop(train & np.isin(prints, prints[self.validation]), "also in the validation files")
        if overlap is not None:
            self.drop(train & np.isin(prints, overlap), "in the evaluation")
        self._limit()
        if self.config.drop_duplicates:
            self.drop(~self._first_of_equals(), "equal to an earlier row")

    def drop_near_copies(self, signatures: NDArray[np.uint32], threshold: float) -> None:
        """Leave out rows of training that are nearly equal to one that stays; `signatures` [rows, 128] in reading order."""
        # What has left already must not take another with it.
        order = np.lexsort((np.arange(len(self.rows)), ~self.validation, ~self.kept))
        near = copies(signatures, threshold, order) >= 0
        self.drop(near & ~self.validation, "near copy of an earlier row")

    def _limit(self) -> None:
        for validation in (True, False):
            for number, source in enumerate(self.config.sources(validation)):
                if source.max_rows is not None:
                    mine = self.kept & (self.validation == validation) & (self.source == number)
                    self.drop(mine & (np.cumsum(mine) > source.max_rows), "beyond max_rows of its source")

    def _first_of_equals(self) -> Flags:
        first: Flags = np.zeros(len(self.rows), dtype=bool)
        for side in (self.validation & self.kept, ~self.validation & self.kept):
            at = np.flatnonzero(side)
            first[at[np.unique(self.rows["print"][at], return_index=True)[1]]] = True
        return first

    @cached_property
    def kind(self) -> Kind:
        """Whether the rows are judged, and how; BadData where they are of several kinds."""
        return "" if self.judged is None else kind(self.judged)

    @cached_property
    def texts(self) -> Texts:
        """The texts of judged rows."""
        return Texts.of(self.rows, self.judged)

    @cached_property
    def alike(self) -> NDArray[np.uint64]:
        """A hash of each row, equal for judged rows of one prompt: seen with one answer, it is no test of another. Where
        all ask the same, or nothing, it is that of the row."""
        asked = self.rows["asked"]
        if self.judged is None or len(np.unique(asked[self.kept])) < 2:
            return self.order
        return np.where(asked > 0, mixed(asked, self.config.seed), self.order)

    def longest(self) -> NDArray[np.int64]:
        """The tokens of each row's longest text; but for pairs that is the row."""
        if self.judged is not None:
            return np.asarray(self.texts.length.max(axis=1))
        return np.asarray(self.rows["length"].astype(np.int64))

    @property
    def prompt_loss_weight(self) -> float:
        """The weight of what is no answer; of judged rows only answers count."""
        return 0.0 if self.kind else self.config.prompt_loss_weight

    @property
    def room(self) -> int:
        """The tokens that a sequence has room for: two texts of max_length where they are pairs."""
        return self.config.max_length * (2 if self.kind == "pairs" else 1)

    def duplicates(self) -> int:
        """Rows that are equal to an earlier one and were kept."""
        return sum(_repeated(self.rows["print"][side & self.kept]) for side in (self.validation, ~self.validation))

    def held_out(self) -> Flags:
        """The rows of the validation side: those of its files, or a share of all by their hash."""
        if self.config.validation_files is not None:
            return self.validation & self.kept
        chosen = np.zeros(len(self.rows), dtype=bool)
        chosen[self.kept] = held_out(self.alike[self.kept], self.config.validation_split)
        return chosen

    def cut(self) -> None:
        """Leave out rows above max_length, except those that may be cut or split."""
        limit, rows = self.config.max_length, self.rows
        over: Flags = self.kept & (self.longest() > limit)
        if self.config.overlong == "truncate":
            beyond = rows["first"] >= limit if self.judged is None else (self.texts.first >= limit).any(axis=1)
            self.drop(over & beyond, "its answer lies beyond max_length", " ({length} tokens)")
            cut = np.flatnonzero(over & self.kept)
            self.truncated = len(cut)
            self.problems["truncated"] = [
                Problem(self.place(row), f"{rows['length'][row]} tokens cut to {limit}", row=row)
                for row in cut[:SHOWN].tolist()
            ]
            return
        goes_on = over & (rows["kind"] == TEXT) if self.config.overlong == "split" else np.zeros_like(over)
        self.split = int(goes_on.sum())
        self.drop(over & ~goes_on, "longer than max_length", " ({length} tokens)")

    def divided(self) -> dict[str, Side]:
        """Both sides, packed; BadData where nothing is left to train on."""
        held = self.held_out()
        chosen = self.kept & ~held
        times = self._repeats(chosen)
        self.drop(chosen & (times == 0), "left out by the weight of its source")
        if not times.any():
            raise BadData(
                "no row is left to train on",
                place="data.train_files",
                value=f"{self.total} rows, {self.bad} bad, {self.dropped.total()} dropped: {dict(self.dropped)}",
                remedy=remedy(self.dropped),
            )
        return {"train": self._side(times), "validation": self._side(held.astype(np.int32))}

    def _side(self, times: Times) -> Side:
        if self.judged is not None:
            return self._judged_side(times, self.judged)
        config = self.config
        cut = config.overlong == "truncate"
        return plain(times, self.shard, self.begin, self.rows["length"], config.max_length, cut, config.packing)

    def _judged_side(self, times: Times, judged: NDArray[np.void]) -> Side:
        taken = np.repeat(np.arange(len(times)), times)
        limit, packing = self.config.max_length, self.config.packing
        known, texts = self.rows[taken], Texts.of(self.rows[taken], judged[taken])
        chosen, order = texts.length[:, 0], self.order[taken]
        cut = texts.cut(limit)
        rows = Lying(self.shard[taken], self.begin[taken], cut, chosen, order, known["asked"])
        if self.kind == "pairs":
            return pairs(times, rows, limit, packing)
        return labels(times, rows, (judged["verdict"][taken] == DESIRABLE).astype(np.uint8), limit, packing)

    def _repeats(self, chosen: Flags) -> Times:
        """How often each of the chosen rows is taken, by the weight of its source: [rows], 0 where it is not."""
        times = chosen.astype(np.int32)
        for number, source in enumerate(self.config.sources(validation=False)):
            if source.weight != 1:
                mine = chosen & ~self.validation & (self.source == number)
                whole, rest = divmod(source.weight, 1)
                # The hash decides, but not the bits that decide which rows are held out.
                extra = _lowest(mixed(self.order[mine], 1), rest) if rest else False
                times[mine] = int(whole) + extra
        return times


def _judged(shards: list[Made]) -> NDArray[np.void] | None:
    """What is judged of all rows (JUDGED); None where nothing is."""
    if all(made.judged is None for made in shards):
        return None
    return np.concatenate([np.zeros(len(made.rows), JUDGED) if made.judged is None else made.judged for made in shards])


def _together(shards: list[Made]) -> NDArray[np.void]:
    """The rows of all shards, which are views of it from then on: there is one copy of them only."""
    rows = np.zeros(sum(len(made.rows) for made in shards), ROW)
    at = 0
    for number, made in enumerate(shards):
        mine = rows[at : at + len(made.rows)]
        mine[:] = made.rows
        shards[number] = replace(made, rows=mine)
        at += len(mine)
    return rows


def _begins(shards: list[Made]) -> NDArray[np.uint64]:
    """The first token of each row in its shard."""
    begin = np.zeros(sum(len(made.rows) for made in shards), np.uint64)
    at = 0
    for made in shards:
        lengths = made.rows["length"]
        np.cumsum(lengths[:-1], dtype=np.uint64, out=begin[at + 1 : at + len(lengths)])
        at += len(lengths)
    return begin


def _repeated(prints: NDArray[np.uint64]) -> int:
    """How many are equal to another; `prints` is sorted where it lies."""
    prints.sort()
    return int(np.count_nonzero(prints[1:] == prints[:-1]))


def mixed(values: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Hashes made other hashes by a seed (splitmix64: Steele 2014): [n] → [n]."""
    with np.errstate(over="ignore"):
        made = values + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        made = (made ^ (made >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        made = (made ^ (made >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(made ^ (made >> np.uint64(31)))


def _lowest(order: NDArray[np.uint64], share: float) -> Flags:
    return order < np.uint64(int(share * 2**64))


def held_out(order: NDArray[np.uint64], share: float) -> Flags:
    """Which rows are validation: those with the lowest hashes, so that equal rows always share a side.

    With a share above 0 and two different rows, neither side is empty.
    """
    if len(order) == 0:
        return np.zeros(0, dtype=bool)
    chosen = _lowest(order, share)
    if share and not chosen.any():
        chosen = order == order.min()
    if chosen.all():
        chosen = order != order.max()
    return np.asarray(chosen)
