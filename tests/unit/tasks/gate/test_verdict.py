"""The verdict is a pure function: monotone in the candidate's score, and plain about what was not measured."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.errors import BadTask
from tasks.gate.comparing import Compared, compare
from tasks.gate.config import Bar, Comparison, GateConfig, IncumbentConfig
from tasks.gate.picture import drawn
from tasks.gate.report import meaning, page
from tasks.gate.samples import Pairs
from tasks.gate.verdict import Scores, judge

DOCS = Path(__file__).parents[4] / "docs"
score = st.floats(-1e3, 1e3)
bound = st.none() | st.floats(-10, 10)


@st.composite
def bars(draw: st.DrawFn, higher_is_better: bool = True) -> Bar:
    low, gain = draw(st.tuples(bound, bound).filter(lambda pair: pair != (None, None)))
    return Bar(task="t", metric="m", min=low, min_gain=gain, higher_is_better=higher_is_better)


def gate(*asked: Bar) -> GateConfig:
    return GateConfig(bars=list(asked))


def one(value: float) -> Scores:
    return {"t": {"m": value}}


@given(bars(), score, score, score)
def test_a_better_score_never_turns_a_promotion_into_a_hold(bar: Bar, base: float, a: float, b: float) -> None:
    worse, better = sorted([a, b])
    if judge(gate(bar), one(base), one(worse)).promote:
        assert judge(gate(bar), one(base), one(better)).promote


@given(bars(higher_is_better=False), score, score, score)
def test_where_less_is_better_a_lower_score_never_turns_it_either(bar: Bar, base: float, a: float, b: float) -> None:
    better, worse = sorted([a, b])
    if judge(gate(bar), one(base), one(worse)).promote:
        assert judge(gate(bar), one(base), one(better)).promote


@given(bars(), score, score)
def test_the_same_scores_give_the_same_verdict_and_are_left_alone(bar: Bar, base: float, value: float) -> None:
    before, after = one(base), one(value)
    assert judge(gate(bar), before, after) == judge(gate(bar), before, after)
    assert (before, after) == (one(base), one(value))


@given(st.lists(bars(), min_size=1, max_size=4), score, score)
def test_promotion_means_that_every_bar_alone_would_promote(asked: list[Bar], base: float, value: float) -> None:
    alone = [judge(gate(bar), one(base), one(value)).promote for bar in asked]
    verdict = judge(gate(*asked), one(base), one(value))
    assert verdict.promote == all(alone)
    assert len(verdict.failed()) == alone.count(False)


@pytest.mark.parametrize(
    ("bar", "base", "value", "promoted"),
    [
        (Bar(task="t", metric="m", min=0.9), 0.0, 0.9, True),
        (Bar(task="t", metric="m", min=0.9), 0.0, 0.89, False),
        (Bar(task="t", metric="m", min_gain=0.1), 0.2, 0.3, True),  # 0.3 - 0.2 is 0.09999999999999998
        (Bar(task="t", metric="m", min_gain=0.1), 0.2, 0.29, False),
        (Bar(task="t", metric="m", min=0.5, min_gain=0.5), 0.4, 0.8, False),
        (Bar(task="t", metric="m", min=10, higher_is_better=False), 0.0, 9, True),
        (Bar(task="t", metric="m", min=10, higher_is_better=False), 0.0, 11, False),
        (Bar(task="t", metric="m", min_gain=1, higher_is_better=False), 10, 9, True),
        (Bar(task="t", metric="m", min_gain=1, higher_is_better=False), 10, 9.5, False),
    ],
)
def test_bars(bar: Bar, base: float, value: float, promoted: bool) -> None:
    assert judge(gate(bar), one(base), one(value)).promote is promoted


@pytest.mark.parametrize(("baseline", "candidate", "whose"), [({}, one(1), "baseline"), (one(1), {"t": {}}, "model")])
def test_a_metric_that_was_not_measured_is_refused_and_the_others_are_named(
    baseline: Scores, candidate: Scores, whose: str
) -> None:
    with pytest.raises(BadTask, match=whose):
        judge(gate(Bar(task="t", metric="m", min=0)), baseline, candidate)
    with pytest.raises(BadTask) as refused:
        judge(gate(Bar(task="tickets", metric="exact", min=0)), one(1), {"tickets": {"exact_match": 1.0}})
    assert "t.m" in refused.value.remedy


def test_a_bar_that_asks_for_nothing_is_refused_and_so_is_a_gate_without_bars() -> None:
    with pytest.raises(ValidationError, match="set min, min_gain or both"):
        Bar(task="t", metric="m")
    with pytest.raises(ValidationError):
        GateConfig(bars=[])


def test_the_page_shows_every_score_before_and_after() -> None:
    base = {"t": {"m": 0.1, "other": 0.5}}
    tuned = {"t": {"m": 0.95, "other": 0.4, "new": 1.0}}
    verdict = judge(gate(Bar(task="t", metric="m", min=0.9, min_gain=0.2)), base, tuned)
    text = page(verdict, {"base 0-shot": base, "base 5-shot": {"t": {"m": 0.3}}, "tuned 0-shot": tuned})
    assert "Promote" in text
    assert "| t | m | ≥ 0.9, ≥ base + 0.2 | 0.1 | 0.95 | passed |" in text
    assert "| t | m | 0.1 | 0.3 | 0.95 | +0.85 |" in text
    assert "| t | other | 0.5 |  | 0.4 | -0.1 |" in text
    assert "| t | new |  |  | 1 |  |" in text


def row(gained: int, lost: int, equal: int, **fields: float) -> Compared:
    candidate = (1.0,) * gained + (0.0,) * lost + (1.0,) * equal
    incumbent = (0.0,) * gained + (1.0,) * lost + (1.0,) * equal
    (made,) = compare({Comparison(task="t", metric="m", **fields): Pairs(candidate, incumbent)}, IncumbentConfig())  # type: ignore[arg-type]
    return made


PASSED, FAILED, NEITHER = row(5, 5, 190, margin=0.1), row(0, 40, 60, margin=0.1), row(2, 2, 16, margin=0.1)
PASSING = gate(Bar(task="t", metric="m", min=0.5)).against("tickets/3")


@pytest.mark.parametrize(
    ("compared", "value", "outcome"),
    [
        ([], 1.0, "promote"),
        ([], 0.0, "hold"),
        ([PASSED], 1.0, "promote"),
        ([PASSED], 0.0, "hold"),
        ([PASSED, NEITHER], 1.0, "undecided"),
        ([NEITHER], 0.0, "hold"),
        ([PASSED, FAILED, NEITHER], 1.0, "hold"),
    ],
)
def test_a_missed_bar_or_a_shown_loss_holds_and_what_is_not_shown_is_undecided(
    compared: list[Compared], value: float, outcome: str
) -> None:
    verdict = judge(PASSING, one(0.0), one(value), compared)
    assert verdict.outcome == outcome
    assert verdict.promote == (outcome == "promote")
    assert verdict.against == ("tickets/3" if compared else "")
    assert len(verdict.failed()) == (value < 0.5) + sum(item.outcome != "passed" for item in compared)


def test_the_page_says_in_words_what_was_shown_and_what_to_do_next() -> None:
    scores = {"base": one(0.1), "in production": one(0.9), "tuned": one(0.9)}
    passed = page(judge(PASSING, one(0.1), one(0.9), [PASSED]), scores)
    assert passed.startswith("# Promote: every bar was passed, and it is good enough beside tickets/3.")
    assert "`luthier promote` makes it the version in production" in passed
    assert "| t | m | 200 | 0.975 | 0.975 | +0 | -0.0" in passed
    undecided = judge(PASSING, one(0.1), one(0.9), [NEITHER])
    assert "looks good enough beside tickets/3, but 20 documents could look so by chance" in meaning(undecided)
    assert "about 120 documents more would show it" in meaning(undecided)
    many = NEITHER.model_copy(update={"further": 15_149})
    assert "about 16,000 documents more" in meaning(judge(PASSING, one(0.1), one(0.9), [many]))
    failed = judge(PASSING, one(0.1), one(0.9), [FAILED])
    assert page(failed, scores).startswith("# Hold: the model is not good enough beside tickets/3.")
    assert "On t it is shown to miss what is asked (> production − 0.1)" in meaning(failed)


def test_the_picture_has_a_row_for_each_comparison_and_quotes_what_others_named() -> None:
    named = NEITHER.model_copy(update={"task": "<script>"})
    picture = drawn(judge(PASSING, one(0.1), one(0.9), [PASSED, named]))
    assert picture.startswith("<svg")
    assert picture.count("<circle") == 2
    assert "<script>" not in picture


def example(task: str, gained: int, lost: int, equal: int, **fields: float) -> tuple[Comparison, Pairs]:
    candidate = (1.0,) * gained + (0.0,) * lost + (1.0,) * equal
    incumbent = (0.0,) * gained + (1.0,) * lost + (1.0,) * equal
    return Comparison(task=task, metric="exact_match", **fields), Pairs(candidate, incumbent)  # type: ignore[arg-type]


def test_the_picture_in_the_docs_is_what_is_drawn() -> None:
    asked = [
        example("invoices", 32, 10, 258, min_gain=0.02),
        example("letters", 10, 10, 280, margin=0.05),
        example("general knowledge", 9, 17, 274, margin=0.02),
        example("arithmetic", 4, 46, 250, margin=0.05),
    ]
    verdict = judge(PASSING, one(0.0), one(0.9), compare(dict(asked), IncumbentConfig()))
    assert [item.outcome for item in verdict.compared] == ["passed", "passed", "undecided", "failed"]
    assert drawn(verdict) == (DOCS / "pictures" / "verdict.svg").read_text(encoding="utf-8")


def test_what_is_compared_is_every_bars_metric_unless_tasks_are_named() -> None:
    bars = [
        Bar(task="a", metric="m", min=0.5),
        Bar(task="a", metric="m", min_gain=0.1),
        Bar(task="b", metric="m", min=9, higher_is_better=False),
    ]
    (first, second) = GateConfig(bars=bars).comparisons()
    assert (first.task, first.margin, second.task, second.higher_is_better) == ("a", 0.05, "b", False)
    named = IncumbentConfig(
        margin=0.01, tasks=[Comparison(task="c", metric="m"), Comparison(task="d", metric="m", min_gain=0.1)]
    )
    assert [
        (item.task, item.margin, item.min_gain) for item in GateConfig(bars=bars, incumbent=named).comparisons()
    ] == [
        ("c", 0.01, None),
        ("d", None, 0.1),
    ]
    with pytest.raises(ValidationError, match="set one"):
        Comparison(task="c", metric="m", margin=0.1, min_gain=0.1)
