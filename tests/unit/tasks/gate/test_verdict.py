"""The verdict is a pure function: monotone in the candidate's score, and plain about what was not measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.errors import BadTask
from tasks.gate.config import Bar, GateConfig
from tasks.gate.report import page
from tasks.gate.verdict import Scores, judge

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
