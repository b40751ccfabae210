"""Near copies: MinHash signatures of a row's 5-word shingles, and the rows whose signatures agree (Lee 2021, arXiv 2107.06499).

Two sets of shingles agree in a place of their signatures as often as they have shingles in common (Broder 1997), so
128 places estimate their Jaccard similarity within 0.04. Rows are only compared where a band of places is equal.
All constants come from a hash of their names and all arithmetic is modulo a power of two: every machine makes the same signatures.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.data.texts import encoded, spaced

Signatures: TypeAlias = NDArray[np.uint32]
Rows: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

PLACES = 128
SHINGLE = 5  # words
RUN = 10  # words
NOTHING = np.uint32(2**32 - 1)  # in all places of a row without words
CHUNK = 2**18  # bytes of text at once, so that what is computed stays in the processor's cache
FOUND = 0.999  # the chance that two rows exactly at the threshold are compared
WINDOW = 32  # rows after it in its bucket with which a row is compared
PAIRS = 2**13  # pairs compared at once: 8 MB of signatures


def signatures(rows_texts: list[str]) -> Signatures:
    """The signature of every text, [n, PLACES]: case and punctuation do not count; fewer than 5 words are one shingle."""
    made = np.full((len(rows_texts), PLACES), NOTHING, dtype=np.uint32)
    for first, data in _chunks(rows_texts):
        shingles, starts, rows = _shingles(data)
        if len(rows):
            _sign(shingles, starts, made, rows + first)
    return made


def copies(found: Signatures, threshold: float, order: Rows | None = None) -> Rows:
    """For each row the row that it is a near copy of, or -1, from signatures [N, PLACES], which may be a memmap.

    Rows are near copies where at least `threshold` of their places agree, and copies of copies are too; the one that comes first in
    `order` (row numbers, by default as they are) is nobody's copy. Memory: some 60 bytes a row beside the signatures.
    """
    order = np.arange(len(found)) if order is None else order
    ranks = np.empty(len(found), dtype=np.int64)
    ranks[order] = np.arange(len(found))
    groups = _Groups(ranks)
    full = np.asarray(found[:, 0] != NOTHING)
    bands, width = banding(threshold)
    for band in range(bands):
        keys = _keys(found, band * width, width)
        rows = np.flatnonzero(full)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        bucket = keys[rows] >> np.uint64(32)
        del keys
        for left, right in _neighbours(rows, bucket, groups):
            groups.unite(*_alike(found, left, right, threshold))
    return groups.firsts(order)


def banding(threshold: float) -> tuple[int, int]:
    """How many bands of how many places: the widest by which rows at the threshold meet with a chance of FOUND."""
    for width in range(16, 1, -1):
        bands = PLACES // width
        if 1 - (1 - threshold**width) ** bands >= FOUND:
            return bands, width
    return PLACES // 2, 2


def repetition(texts: Iterable[str]) -> float:
    """The share of the words that stand in a run of 10 words which their text holds more than once (Rae 2021, arXiv 2112.11446).

    What one text says again of another, such as an answer of its question, is no repetition.
    """
    total = repeated = 0
    for text in texts:
        words, _ = _words(np.frombuffer(_normal(text), dtype=np.uint8))
        total += len(words)
        if len(words) > RUN:
            runs = _sums(words, RUN)
            _, which, counts = np.unique(runs, return_inverse=True, return_counts=True)
            steps = np.zeros(len(words) + 1, dtype=np.int64)
            again = np.flatnonzero(counts[which] > 1)
            np.add.at(steps, again, 1)
            np.add.at(steps, again + RUN, -1)
            repeated += int((np.cumsum(steps) > 0).sum())
    return repeated / max(total, 1)


class _Groups:
    """Rows that are copies of each other, as a forest whose roots come first in the order."""

    def __init__(self, ranks: Rows) -> None:
        self._ranks = ranks
        self._above = np.arange(len(ranks))

    def roots(self, rows: Rows) -> Rows:
        """The root of each row's group."""
        found = self._above[rows]
        while not np.array_equal(found, above := self._above[found]):
            found = above
        self._above[rows] = found
        return found

    def unite(self, left: Rows, right: Rows) -> None:
        """Make one group of each pair's two."""
        while len(left):
            left, right = self.roots(left), self.roots(right)
            apart = left != right
            left, right = left[apart], right[apart]
            later = self._ranks[left] > self._ranks[right]
            self._above[np.where(later, left, right)] = np.where(later, right, left)

    def firsts(self, rows: Rows) -> Rows:
        """By row, the first of its group where that is another, else -1; `rows` are all rows."""
        made = np.empty(len(rows), dtype=np.int64)
        made[rows] = self.roots(rows)
        return np.where(made == np.arange(len(rows)), -1, made)


def _chunks(texts: list[str]) -> Iterator[tuple[int, list[bytes]]]:
    first, size = 0, 0
    data: list[bytes] = []
    for number, text in enumerate(texts):
        data.append(_normal(text))
        size += len(data[-1])
        if size >= CHUNK:
            yield first, data
            first, size, data = number + 1, 0, []
    if data:
        yield first, data


def _shingles(texts: list[bytes]) -> tuple[NDArray[np.uint32], Rows, Rows]:
    """The hashes of all shingles, where those of each row start, and the numbers of the rows that have any."""
    sizes = np.array([len(text) + 1 for text in texts])
    letters = np.frombuffer(b" ".join([*texts, b""]), dtype=np.uint8)
    words, begins = _words(letters)
    row = np.searchsorted(np.cumsum(sizes), begins, side="right")
    counts = np.bincount(row, minlength=len(texts))
    # Four nothings after every row: its last shingles then hold no word of the next, and are left out.
    padded = np.zeros(len(words) + 4 * len(texts), dtype=np.uint64)
    padded[np.arange(len(words)) + 4 * row] = words
    sums = _sums(padded, SHINGLE)
    own = np.where(counts > 0, np.maximum(counts - SHINGLE + 1, 1), 0)
    rows = np.flatnonzero(own)
    starts = np.cumsum(counts + 4) - (counts + 4)
    wanted = np.arange(own.sum()) + np.repeat(starts[rows] - (np.cumsum(own) - own)[rows], own[rows])
    return (_mixed(sums[wanted]) >> np.uint64(32)).astype(np.uint32), (np.cumsum(own) - own)[rows], rows


def _sums(words: Words, length: int) -> Words:
    """Of every run of so many words one number."""
    sums = np.zeros(len(words) - length + 1, dtype=np.uint64)
    for place, factor in enumerate(_constants("word in shingle", length) | np.uint64(1)):
        sums += words[place : place + len(sums)] * factor
    return sums


def _normal(text: str) -> bytes:
    return encoded(spaced(text).lower())


def _words(letters: NDArray[np.uint8]) -> tuple[Words, Rows]:
    """The hash of each word, and where it begins."""
    values = _letter_values()[letters]
    inside = values != 0
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    powers, inverse = _powers(1 << len(letters).bit_length())
    sums = np.zeros(len(letters) + 1, dtype=np.uint64)
    np.cumsum(values * powers[: len(letters)], out=sums[1:])
    return _mixed((sums[ends] - sums[begins]) * inverse[begins]), begins


def _sign(shingles: NDArray[np.uint32], starts: Rows, made: Signatures, rows: Rows) -> None:
    """In place k the least of a·h + b over the row's shingles h, with the k-th odd a and b modulo 2^32."""
    factors = _constants("factor", PLACES).astype(np.uint32) | np.uint32(1)
    terms = _constants("term", PLACES).astype(np.uint32)
    values = np.empty_like(shingles)
    columns = np.empty((PLACES, len(rows)), dtype=np.uint32)
    for place in range(PLACES):
        np.multiply(shingles, factors[place], out=values)
        np.add(values, terms[place], out=values)
        np.minimum.reduceat(values, starts, out=columns[place])
    made[rows] = columns.T


def _keys(found: Signatures, start: int, width: int) -> Words:
    """Of each row 64 bits: the upper half says its bucket in this band, the lower sorts rows within it by other places.

    So, where many rows share a bucket for a text that they all hold, those that are really alike stand together.
    """
    made = np.empty(len(found), dtype=np.uint64)
    columns = (start + np.arange(2 * width)) % PLACES
    for first in range(0, len(found), PAIRS):
        part = np.asarray(found[first : first + PAIRS])[:, columns].astype(np.uint64)
        halves = [_hashed(part[:, :width]), _hashed(part[:, width:])]
        made[first : first + PAIRS] = (halves[0] >> np.uint64(32) << np.uint64(32)) | (halves[1] >> np.uint64(32))
    return made


def _hashed(columns: Words) -> Words:
    made = np.zeros(len(columns), dtype=np.uint64)
    for place in range(columns.shape[1]):
        made = _mixed(made ^ columns[:, place])
    return made


def _neighbours(rows: Rows, bucket: Words, groups: _Groups) -> Iterator[tuple[Rows, Rows]]:
    """Pairs in one bucket that are not of one group yet: each row with those after it, the nearest first."""
    for step in range(1, WINDOW + 1):
        at = np.flatnonzero(bucket[step:] == bucket[:-step])
        if not len(at):
            return
        left, right = rows[at], rows[at + step]
        apart = groups.roots(left) != groups.roots(right)
        yield left[apart], right[apart]


def _alike(found: Signatures, left: Rows, right: Rows, threshold: float) -> tuple[Rows, Rows]:
    keep = np.zeros(len(left), dtype=bool)
    for first in range(0, len(left), PAIRS):
        part = slice(first, first + PAIRS)
        keep[part] = (found[left[part]] == found[right[part]]).sum(axis=1) >= threshold * PLACES
    return left[keep], right[keep]


def _mixed(values: Words) -> Words:
    """splitmix64's finisher (Steele 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _constants(name: str, count: int) -> Words:
    drawn = hashlib.shake_256(f"luthier near copies 1: {name}".encode()).digest(8 * count)
    return np.frombuffer(drawn, dtype="<u8").astype(np.uint64)


@cache
def _letter_values() -> Words:
    """64 bits a byte, and 0 for what is between words: ASCII but letters and digits."""
    values = _constants("letter", 256) | np.uint64(1)
    values[[byte for byte in range(128) if not chr(byte).isalnum()]] = 0
    return values


@cache
def _powers(count: int) -> tuple[Words, Words]:
    """The first `count` powers of an odd number and of its inverse, modulo 2^64."""
    base = int(_constants("base", 1)[0]) | 1
    steps = np.full(count, base, dtype=np.uint64), np.full(count, pow(base, -1, 2**64), dtype=np.uint64)
    for step in steps:
        step[0] = 1
    return np.cumprod(steps[0]), np.cumprod(steps[1])
