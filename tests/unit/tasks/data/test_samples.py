"""Which rows are looked at."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from tasks.data.samples import lowest


@given(some.lists(some.integers(0, 2**64 - 1) | some.integers(0, 3), max_size=60), some.integers(1, 12), some.data())
def test_the_rows_with_the_lowest_hashes_are_those_that_sorting_all_would_find(
    values: list[int], count: int, data: some.DataObject
) -> None:
    hashes = np.array(values, np.uint64)
    at = np.flatnonzero([data.draw(some.booleans()) for _ in values])
    first: dict[int, int] = {}
    for row in at.tolist():
        first.setdefault(values[row], row)
    assert lowest(hashes, at, count) == [first[value] for value in sorted(first)][:count]
