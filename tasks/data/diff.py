"""Two datasets' rows, compared by the hashes of their content: what left, what came, what is another now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.changes import Amounts, SourceDrift
from tasks.data.packing import Ints

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
LINE = np.uint64(2**36)  # lines of a file, more than any has
# What is compared of a row: the hashes of its content and of what is asked in it, its file and its line there, where its
# tokens begin in its shard, how many there are and are learned, and how often it is taken (−1: held out).
COMPARED = np.dtype(
    [
        ("print", "<u8"),
        ("asked", "<u8"),
        ("begin", "<u8"),
        ("line", "<u8"),
        ("file", "<u4"),
        ("shard", "<u4"),
        ("length", "<u4"),
        ("learned", "<u4"),
        ("times", "<i2"),
    ]
)


@dataclass(frozen=True)
class Rows:
    """The rows that a dataset holds, COMPARED in reading order, and the name and kind of each file. `cut` is the length
    that longer ones were cut to, where they were."""

    rows: NDArray[np.void]
    files: list[tuple[str, str]]
    cut: int | None = None

    @property
    def lengths(self) -> Ints:
        """Tokens of each row that are left of it, [rows]."""
        lengths = self.rows["length"].astype(np.int64)
        return lengths if self.cut is None else np.minimum(lengths, self.cut)


def table(index: Sequence[Mapping[str, Any]], shards: Iterable[NDArray[np.void]], taken: Ints, cut: int | None) -> Rows:
    """The rows of a dataset: its index.json's shards, each shard's rows.npy in that order, and taken.npy.

    One shard's rows are held beside those that are kept, of which each takes 50 bytes.
    """
    files: dict[tuple[str, str], int] = {}
    tables, at = [np.zeros(0, COMPARED)], 0
    for number, (told, known) in enumerate(zip(index, shards, strict=True)):
        segments = told["segments"]
        names = np.array([files.setdefault((name, kind), len(files)) for name, kind, _ in segments], dtype=np.uint32)
        before = np.array([lines for *_, lines in segments], dtype=np.uint64)
        made = np.zeros(len(known), COMPARED)
        for field in ("print", "asked", "length", "learned"):
            made[field] = known[field]
        made["begin"] = np.cumsum(known["length"], dtype=np.uint64) - known["length"]
        made["file"], made["line"] = names[known["segment"]], before[known["segment"]] + known["line"]
        made["shard"], made["times"] = number, taken[at : at + len(known)]
        tables.append(made[made["times"] != 0])
        at += len(known)
    return Rows(np.concatenate(tables), list(files), cut)


@dataclass(frozen=True)
class Compared:
    """Positions in both tables: pairs of rows that are the same, and that are another now; rows that left, that came."""

    same: tuple[Ints, Ints]
    changed: tuple[Ints, Ints]
    removed: Ints
    added: Ints


def compare(before: Rows, after: Rows) -> Compared:
    """Every row of both, once. Of equal rows each is paired with one."""
    same = paired(before.rows["print"], after.rows["print"])
    left, came = _without(len(before.rows), same[0]), _without(len(after.rows), same[1])
    pairs = []
    for keys in (_asked, _places):
        old, new = keys(before, after, left, came)
        found = paired(old, new, nothing=0)
        pairs.append((left[found[0]], came[found[1]]))
        left, came = np.delete(left, found[0]), np.delete(came, found[1])
    changed = tuple(np.concatenate(side) for side in zip(*pairs, strict=True))
    order = np.argsort(changed[1], kind="stable")
    return Compared(same, (changed[0][order], changed[1][order]), left, came)


def paired(before: NDArray[Any], after: NDArray[Any], nothing: int | None = None) -> tuple[Ints, Ints]:
    """Positions of equal keys in both, the n-th of a key with its n-th; the key `nothing` equals none."""
    old, new = np.argsort(before, kind="stable"), np.argsort(after, kind="stable")
    first, second = before[old], after[new]
    rank = np.arange(len(second)) - np.searchsorted(second, second)
    at = np.searchsorted(first, second) + rank
    hit = at < np.searchsorted(first, second, side="right")
    if nothing is not None:
        hit &= second != nothing
    return old[at[hit]], new[hit]


def _without(count: int, some: Ints) -> Ints:
    rest = np.ones(count, dtype=bool)
    rest[some] = False
    return np.flatnonzero(rest)


def _asked(before: Rows, after: Rows, left: Ints, came: Ints) -> tuple[NDArray[Any], NDArray[Any]]:
    return before.rows["asked"][left], after.rows["asked"][came]


def _places(before: Rows, after: Rows, left: Ints, came: Ints) -> tuple[NDArray[Any], NDArray[Any]]:
    """File and line as one number above 0, the same for the same names."""
    numbers: dict[tuple[str, str], int] = {}
    made = []
    for side, at in ((before, left), (after, came)):
        ids = np.array([numbers.setdefault(name, len(numbers) + 1) for name in side.files] or [0], dtype=np.uint64)
        made.append(ids[side.rows["file"][at]] * LINE + side.rows["line"][at])
    return made[0], made[1]


def moved(before: Rows, after: Rows, same: tuple[Ints, Ints]) -> tuple[int, int]:
    """How many of the same rows are held out now, and how many are trained on now."""
    held, holds = before.rows["times"][same[0]] < 0, after.rows["times"][same[1]] < 0
    return int((~held & holds).sum()), int((held & ~holds).sum())


def amounts(side: Rows) -> Amounts:
    """The sums of a dataset."""
    trained, lengths = side.rows["times"] > 0, side.lengths
    times = np.maximum(side.rows["times"], 0).astype(np.int64)
    tokens = int((lengths * times).sum())
    learned = int((np.minimum(side.rows["learned"], lengths) * times).sum())
    mine = lengths[trained]
    return Amounts(
        rows=int(trained.sum()),
        held_out=int((~trained).sum()),
        tokens=tokens,
        learned_share=learned / max(1, tokens),
        quantiles={f"{at:g}": int(np.quantile(mine, at, method="inverted_cdf")) for at in SHARES if len(mine)},
    )


def distance(before: Rows, after: Rows) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance between the lengths of rows to train on, and the one that chance explains at 5 %
    (Smirnov 1948: 1.358 √((n + m) / nm))."""
    first, second = (np.sort(side.lengths[side.rows["times"] > 0]) for side in (before, after))
    if not len(first) or not len(second):
        return 0.0, 1.0
    both = np.concatenate([first, second])
    shares = [np.searchsorted(side, both, side="right") / len(side) for side in (first, second)]
    chance = 1.358 * ((len(first) + len(second)) / (len(first) * len(second))) ** 0.5
    return float(np.abs(shares[0] - shares[1]).max()), min(1.0, chance)


def drift(before: Rows, after: Rows) -> list[SourceDrift]:
    """Every source file's rows and share of the tokens, what moved most first."""
    told: list[dict[str, tuple[int, float]]] = [_by_file(before), _by_file(after)]
    names = dict.fromkeys([*told[0], *told[1]])
    made = [[side.get(name, (0, 0.0)) for side in told] for name in names]
    drifts = [
        SourceDrift(name=name, rows=(old[0], new[0]), share=(old[1], new[1]))
        for name, (old, new) in zip(names, made, strict=True)
    ]
    return sorted(drifts, key=lambda one: -abs(one.share[1] - one.share[0]))


def _by_file(side: Rows) -> dict[str, tuple[int, float]]:
    times = np.maximum(side.rows["times"], 0).astype(np.int64)
    tokens = np.bincount(side.rows["file"], weights=side.lengths * times, minlength=len(side.files))
    rows = np.bincount(side.rows["file"], weights=times > 0, minlength=len(side.files))
    told: dict[str, tuple[int, float]] = {}
    for (name, _), count, share in zip(side.files, rows, tokens / max(1.0, float(tokens.sum())), strict=True):
        held = told.get(name, (0, 0.0))
        told[name] = (held[0] + int(count), held[1] + float(share))
    return told
