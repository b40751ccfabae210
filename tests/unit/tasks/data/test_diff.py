"""What is told of two datasets is what a person would find by laying one beside the other."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tasks.data import diff
from tasks.data.diff import COMPARED, Rows
from tasks.data.shard import ROW


def rows(*told: tuple[int, int, int, int], cut: int | None = None, files: tuple[str, ...] = ("rows.jsonl",)) -> Rows:
    """Rows of (print, asked, line, length), all in the first file and trained on once."""
    made = np.zeros(len(told), COMPARED)
    for field, values in zip(("print", "asked", "line", "length"), zip(*told, strict=True), strict=False):
        made[field] = values
    made["times"], made["learned"] = 1, 5
    return Rows(made, [(name, ".jsonl") for name in files], cut)


def test_every_row_of_both_is_told_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        sides = []
        for _ in range(2):
            count = int(rng.integers(0, 40))
            told = rng.integers(0, 8, (count, 3))
            sides.append(rows(*((int(a), int(b), int(c), 9) for a, b, c in told)) if count else rows())
        before, after = sides
        found = diff.compare(before, after)
        assert sorted([*found.same[0], *found.changed[0], *found.removed]) == list(range(len(before.rows)))
        assert sorted([*found.same[1], *found.changed[1], *found.added]) == list(range(len(after.rows)))
        old, new = (Counter(side.rows["print"].tolist()) for side in sides)
        assert len(found.same[0]) == (old & new).total(), "as sets in which a row may be twice"
        assert all(before.rows["print"][found.same[0]] == after.rows["print"][found.same[1]])


def test_a_row_changed_where_the_same_is_asked_or_one_stands_in_its_place() -> None:
    before = rows((1, 70, 1, 9), (2, 71, 2, 9), (3, 0, 3, 9), (4, 0, 4, 9))
    after = rows((1, 70, 1, 9), (9, 0, 3, 9), (8, 71, 7, 9), (7, 0, 5, 9))
    found = diff.compare(before, after)
    pairs = sorted(zip(before.rows["print"][found.changed[0]], after.rows["print"][found.changed[1]], strict=True))
    assert pairs == [(2, 8), (3, 9)]
    assert before.rows["print"][found.removed].tolist() == [4], "that nothing is asked in both is nothing in common"
    assert after.rows["print"][found.added].tolist() == [7]


def test_a_place_is_a_line_of_a_file_of_the_same_name() -> None:
    other = diff.compare(rows((1, 0, 1, 9)), rows((2, 0, 1, 9), files=("other.jsonl",)))
    assert (len(other.changed[0]), len(other.removed), len(other.added)) == (0, 1, 1)
    same = diff.compare(rows((1, 0, 1, 9)), rows((2, 0, 1, 9)))
    assert len(same.changed[0]) == 1


def test_sides_that_rows_changed_are_counted() -> None:
    before, after = rows((1, 0, 1, 9), (2, 0, 2, 9), (3, 0, 3, 9)), rows((1, 0, 1, 9), (2, 0, 2, 9), (3, 0, 3, 9))
    before.rows["times"], after.rows["times"] = [1, -1, 3], [-1, 1, 1]
    assert diff.moved(before, after, diff.compare(before, after).same) == (1, 1)


def test_amounts_are_those_of_an_epoch() -> None:
    side = rows((1, 0, 1, 10), (2, 0, 2, 30), (3, 0, 3, 50), cut=40)
    side.rows["times"] = [2, 1, -1]
    told = diff.amounts(side)
    assert (told.rows, told.held_out, told.tokens) == (2, 1, 50)
    assert told.learned_share == 15 / 50
    assert told.quantiles["1"] == 30


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 2, 3], [1, 2, 3], 0.0), ([1, 2], [3, 4], 1.0), ([1, 2, 3, 4], [3, 4, 5, 6], 0.5)],
)
def test_the_distance_is_the_widest_gap_of_the_shares(first: list[int], second: list[int], expected: float) -> None:
    sides = [rows(*((n, 0, n, length) for n, length in enumerate(lengths, 1))) for lengths in (first, second)]
    assert diff.distance(sides[0], sides[1])[0] == expected


def test_sources_that_moved_most_come_first() -> None:
    before, after = (rows((1, 0, 1, 10), (2, 0, 1, 10), (3, 0, 1, 20), files=("a", "b", "c")) for _ in range(2))
    before.rows["file"], after.rows["file"] = [0, 1, 2], [0, 0, 1]
    told = diff.drift(before, after)
    assert [(at.name, at.rows, at.share) for at in told] == [
        ("c", (1, 0), (0.5, 0.0)),
        ("a", (1, 2), (0.25, 0.5)),
        ("b", (1, 1), (0.25, 0.5)),
    ]


def test_a_table_knows_files_and_lines_and_leaves_out_what_was_dropped() -> None:
    index: list[dict[str, Any]] = [
        {"segments": [["a.jsonl", ".jsonl", 0]]},
        {"segments": [["a.jsonl", ".jsonl", 2], ["b.jsonl", ".jsonl", 0]]},
    ]
    first, second = np.zeros(2, ROW), np.zeros(2, ROW)
    first["line"], first["length"] = [1, 2], [5, 6]
    second["line"], second["length"], second["segment"] = [1, 4], [7, 8], [0, 1]
    made = diff.table(index, iter([first, second]), np.array([1, 0, -1, 2]), None)
    told = [(made.files[row["file"]][0], int(row["line"]), int(row["shard"]), int(row["begin"])) for row in made.rows]
    assert told == [("a.jsonl", 1, 0, 0), ("a.jsonl", 3, 1, 0), ("b.jsonl", 4, 1, 7)]
    assert made.rows["times"].tolist() == [1, -1, 2]
