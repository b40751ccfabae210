"""The index: which rows are taken, how often and in which pieces, and that every row is accounted for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadData
from infra.storage.sources import Listed
from tasks.data.config import DataConfig
from tasks.data.index import Index, Made, held_out, mixed
from tasks.data.plan import Planned, Segment
from tasks.data.reading import Part
from tasks.data.shard import CHAT, ROW, TEXT, Note, Told

Rows = list[dict[str, Any]]


def made(rows: Rows, source: int = 0, validation: bool = False, lines: int = 100, bad: int = 0, start: int = 0) -> Made:
    """A shard of one segment; a row says what is special about it."""
    known = np.zeros(len(rows), ROW)
    for number, row in enumerate(rows):
        told = {"print": number + 1 + 1000 * source + start, "line": number + 1, "length": 10, "learned": 4} | row
        for name, value in {"first": 6, "kind": CHAT, **told}.items():
            known[name][number] = value
    segment = Segment(
        sha256="0" * 64,
        kind=".jsonl",
        within=None,
        opens=start == 0,
        part=Part(start, start + 100, 1000),
        name=f"rows{source}.jsonl",
        path=Path(f"/rows{source}.jsonl"),
        origin=Listed(f"/rows{source}.jsonl", 1000, ""),
    )
    planned = Planned(
        validation=validation,
        source=source,
        text=DataConfig(train_files=["x"]).text(DataConfig(train_files=["x"]).sources(validation=False)[0]),
        segments=(segment,),
        size=100,
    )
    notes = [Note(segment=0, line=50 + number, text="is wrong") for number in range(bad)]
    told = Told(
        lines=[lines],
        rows=[len(rows) + bad],
        bad=bad,
        dropped={},
        notes={"bad": notes, "dropped": [], "sensitive": []},
        unused_columns=[],
        sensitive={},
    )
    return Made(planned, told, known)


def config(**fields: Any) -> DataConfig:
    return DataConfig.model_validate({"train_files": ["a"], "validation_split": 0, "max_length": 16} | fields)


def pieces(index: Index, side: str = "train") -> list[tuple[int, int, int]]:
    return index.divided()[side].pieces.tolist()


def test_lines_go_on_over_the_shards_of_a_file_and_start_anew_in_the_next() -> None:
    index = Index(config(train_files=["a", "b"]), [made([{}]), made([{}], start=100), made([{}], source=1)])
    assert [index.place(row) for row in range(3)] == ["rows0.jsonl:1", "rows0.jsonl:101", "rows1.jsonl:1"]


def test_lines_of_two_files_of_one_content_do_not_add_up() -> None:
    index = Index(config(), [made([{}]), made([{}])])  # packed alike, they share one copy
    assert [index.place(row) for row in range(2)] == ["rows0.jsonl:1", "rows0.jsonl:1"]


def test_bad_rows_are_told_by_file_and_line() -> None:
    index = Index(config(), [made([{}], bad=1), made([{}], bad=2, start=100)])
    assert index.bad == 3
    assert [place for place, *_ in index.problems["bad"]] == ["rows0.jsonl:50", "rows0.jsonl:150", "rows0.jsonl:151"]


def test_a_source_of_weight_two_and_a_half_is_seen_two_or_three_times() -> None:
    sources = ["a", {"files": ["b"], "weight": 2.5}]
    index = Index(config(train_files=sources), [made([{}] * 100), made([{}] * 400, source=1)])
    times = index.divided()["train"].times
    assert times[:100].tolist() == [1] * 100
    assert set(times[100:].tolist()) == {2, 3}
    assert 0.4 < (times[100:] == 3).mean() < 0.6


def test_a_source_of_weight_a_quarter_loses_rows_that_are_counted() -> None:
    index = Index(config(train_files=[{"files": ["a"], "weight": 0.25}]), [made([{}] * 400)])
    times = index.divided()["train"].times
    left = index.dropped["left out by the weight of its source"]
    assert 60 < times.sum() < 140
    assert times.sum() + left == 400
    again = Index(config(train_files=[{"files": ["a"], "weight": 0.25}], seed=7), [made([{}] * 400)])
    assert again.divided()["train"].times.tolist() != times.tolist()


def test_max_rows_takes_the_first_that_can_be_used() -> None:
    index = Index(config(train_files=[{"files": ["a"], "max_rows": 3}]), [made([{}] * 5)])
    index.choose(None)
    assert index.kept.tolist() == [True, True, True, False, False]
    assert index.dropped == {"beyond max_rows of its source": 2}


def test_rows_of_the_validation_files_and_of_the_evaluation_are_kept_out_of_training() -> None:
    held = made([{"print": 3}], validation=True)
    index = Index(config(validation_files=["v"]), [held, made([{}] * 5)])
    index.choose(np.array([5], dtype=np.uint64))
    assert index.kept.tolist() == [True, True, True, False, True, False]
    assert index.dropped == {"also in the validation files": 1, "in the evaluation": 1}
    assert index.held_out().tolist() == [True] + [False] * 5


def test_of_equal_rows_the_first_stays_on_each_side() -> None:
    index = Index(config(drop_duplicates=True), [made([{"print": 1}, {"print": 2}, {"print": 1}])])
    index.choose(None)
    assert index.kept.tolist() == [True, True, False]


def test_pieces_say_where_tokens_lie() -> None:
    index = Index(config(), [made([{"length": 3}, {"length": 5}]), made([{"length": 7}], start=100)])
    assert pieces(index) == [(0, 0, 3), (0, 3, 5), (1, 0, 7)]


@given(length=st.integers(1, 200), limit=st.integers(8, 40))
def test_a_split_document_is_whole_and_no_piece_is_of_one_token(length: int, limit: int) -> None:
    index = Index(config(overlong="split", max_length=limit), [made([{"length": length, "kind": TEXT}])])
    index.cut()
    told = pieces(index)
    assert [begin for _, begin, _ in told] == np.cumsum([0, *(size for *_, size in told)])[:-1].tolist()
    assert sum(size for *_, size in told) == length
    assert all(2 <= size <= limit for *_, size in told) or length == 1


def test_what_is_too_long_is_cut_only_where_an_answer_is_left() -> None:
    rows = [{"length": 30, "first": 10}, {"length": 30, "first": 16}, {"length": 16}]
    index = Index(config(overlong="truncate"), [made(rows)])
    index.cut()
    assert [size for *_, size in pieces(index)] == [16, 16]
    assert index.dropped == {"its answer lies beyond max_length": 1}
    assert index.problems["dropped"][0][:2] == ("rows0.jsonl:2", "its answer lies beyond max_length (30 tokens)")


def test_a_file_without_rows_is_refused_by_name() -> None:
    with pytest.raises(BadData, match="no rows") as caught:
        Index(config(), [made([{}]), made([], source=1)]).require_rows_in_files()
    assert caught.value.place == "rows1.jsonl"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, unique=True), st.floats(1e-6, 0.99))
def test_both_sides_have_rows_and_equal_hashes_share_one(values: list[int], share: float) -> None:
    order = mixed(np.array(values + values, dtype=np.uint64), 42)
    chosen = held_out(order, share)
    assert 0 < chosen.sum() < len(chosen)
    assert chosen[: len(values)].tolist() == chosen[len(values) :].tolist()


def test_mixing_loses_nothing_and_is_the_same_on_every_machine() -> None:
    values = np.arange(10_000, dtype=np.uint64)
    assert len(np.unique(mixed(values, 0))) == len(values)
    assert mixed(values[:3], 42).tolist() == [6488410793773427446, 14707793056004569014, 16924470493730811351]
