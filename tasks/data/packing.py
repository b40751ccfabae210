"""Best-fit-decreasing packing, counted by distinct length, so that its cost hardly grows with the number of rows.

Placing items one by one, longest first, each into the fullest bin that takes it (D. S. Johnson, 1973), gives the
same bins: all items of one length that go to bins of one room are placed by one step here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """Row indices grouped by bin: bin b holds rows[starts[b]:starts[b + 1]]."""

    rows: Ints
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1


def one_each(count: int) -> Bins:
    """Every row in a bin of its own."""
    return Bins(np.arange(count, dtype=np.int64), np.arange(count + 1, dtype=np.int64))


def pack(lengths: Ints, capacity: int) -> Bins:
    """Bins of at most `capacity` tokens, every row once, rows of a bin in their own order; the same for the same input.

    `lengths` are tokens a row, each 1 … capacity; ValueError otherwise.
    """
    if len(lengths) == 0:
        return one_each(0)
    if lengths.min() < 1 or lengths.max() > capacity:
        raise ValueError(f"lengths must lie in 1 … {capacity}")
    # Ascending and stable; taken from the end, so long rows come first.
    order = np.argsort(lengths, kind="stable")
    distinct, counts = np.unique(lengths, return_counts=True)
    bin_of = np.empty(len(lengths), dtype=np.int64)
    shelf, end = _Shelf(capacity), len(lengths)
    for length, count in zip(distinct[::-1].tolist(), counts[::-1].tolist(), strict=True):
        bin_of[order[end - count : end]] = shelf.place(length, count)
        end -= count
    starts = np.concatenate([[0], np.cumsum(np.bincount(bin_of, minlength=shelf.bins))])
    return Bins(np.argsort(bin_of, kind="stable").astype(np.int64), starts.astype(np.int64))


class _Shelf:
    """Open bins by the room that they have left."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.bins = capacity, 0
        self._by_room: dict[int, list[Ints]] = {}
        self._rooms = 0  # bit r is set where bins with room r are

    def place(self, length: int, count: int) -> Ints:
        """The bins that `count` items of one length go to."""
        placed = []
        while count:
            room, bins = self._take(length, count)
            each = room // length
            full, rest = divmod(min(count, each * len(bins)), each)
            placed += [np.repeat(bins[:full], each), np.repeat(bins[full : full + 1], rest)]
            count -= full * each + rest
            self._put(room - each * length, bins[:full])
            self._put(room - rest * length, bins[full : full + 1])
            self._put(room, bins[full + 1 :])
        return np.concatenate(placed)

    def _take(self, length: int, count: int) -> tuple[int, Ints]:
        """Take away the bins with the least room that is enough, new ones if there are none, and say that room."""
        fitting = self._rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            self._rooms ^= 1 << room
            return room, np.concatenate(self._by_room.pop(room))
        new = -(-count // (self.capacity // length))
        self.bins += new
        return self.capacity, np.arange(self.bins - new, self.bins, dtype=np.int64)

    def _put(self, room: int, bins: Ints) -> None:
        if room and len(bins):
            self._by_room.setdefault(room, []).append(bins)
            self._rooms |= 1 << room
