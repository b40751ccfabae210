"""Every row once, nothing over the limit, as few bins as one-by-one best fit needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.packing import one_each, pack

LENGTHS = st.integers(1, 64).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=80), st.just(capacity))
)


def one_by_one(lengths: list[int], capacity: int) -> int:
    """Best-fit decreasing as the textbook has it: how many bins it opens."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    return len(rooms)


@given(LENGTHS)
@settings(deadline=None)
def test_every_row_is_in_exactly_one_bin_and_no_bin_is_over_the_limit(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    bins = pack(np.array(lengths, dtype=np.int64), capacity)
    assert sorted(bins.rows.tolist()) == list(range(len(lengths)))
    assert bins.starts[0] == 0
    assert bins.starts[-1] == len(lengths)
    for start, stop in zip(bins.starts[:-1], bins.starts[1:], strict=True):
        rows = bins.rows[start:stop].tolist()
        assert rows
        assert rows == sorted(rows)
        assert sum(lengths[row] for row in rows) <= capacity


@given(LENGTHS)
@settings(deadline=None)
def test_counting_opens_as_many_bins_as_placing_one_by_one(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    assert len(pack(np.array(lengths, dtype=np.int64), capacity)) == one_by_one(lengths, capacity)


def test_realistic_lengths_fill_the_bins() -> None:
    chance = np.random.default_rng(0)
    lengths = np.clip(chance.lognormal(5.5, 0.8, 50_000), 8, 2048).astype(np.int64)
    assert lengths.sum() / (len(pack(lengths, 2048)) * 2048) >= 0.995


def test_the_same_lengths_give_the_same_bins() -> None:
    lengths = np.random.default_rng(1).integers(1, 500, 2000)
    first, second = pack(lengths, 512), pack(lengths.copy(), 512)
    assert first.rows.tobytes() == second.rows.tobytes()
    assert first.starts.tobytes() == second.starts.tobytes()


def test_without_packing_every_row_has_its_own_bin() -> None:
    bins = one_each(3)
    assert bins.rows.tolist() == [0, 1, 2]
    assert bins.starts.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("lengths", [[0, 3], [9]])
def test_a_row_that_no_bin_can_hold_is_an_error(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="1 … 8"):
        pack(np.array(lengths), 8)
