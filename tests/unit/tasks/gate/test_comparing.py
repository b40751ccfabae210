"""What paired outcomes show: properties that hold for any outcomes, and error rates by simulation."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gate.comparing import Compared, compare, further, holm
from tasks.gate.config import Comparison, IncumbentConfig
from tasks.gate.samples import Pairs

CONFIG = IncumbentConfig()
ANSWERS = st.sampled_from([0.0, 1.0])
GRADES = st.floats(0, 1)
MARGINS = st.sampled_from([0.0, 0.02, 0.1, 0.3]).map(lambda margin: {"margin": margin})
GAINS = st.sampled_from([0.0, 0.05, 0.2]).map(lambda gain: {"min_gain": gain})
ALLOWED = MARGINS | GAINS


def asked(task: str = "t", **fields: Any) -> Comparison:
    return Comparison(task=task, metric="m", **fields)


def pairs(values: Any) -> Pairs:
    return Pairs(*(tuple(side) for side in zip(*values, strict=True)))


def one(values: Any, **fields: Any) -> Compared:
    (row,) = compare({asked(**fields): pairs(values)}, CONFIG)
    return row


def scored(grade: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(grade, grade), min_size=2, max_size=60)


values = scored(ANSWERS) | scored(GRADES)


@settings(deadline=None, max_examples=25)
@given(values, ALLOWED, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(drawn: Any, allowed: dict[str, float], chance: random.Random) -> None:
    shuffled = list(drawn)
    chance.shuffle(shuffled)
    assert one(drawn, **allowed) == one(shuffled, **allowed)


@settings(deadline=None, max_examples=25)
@given(values, st.sampled_from([0.0, 0.05, 0.2]))
def test_swapping_the_models_mirrors_what_is_shown(drawn: Any, distance: float) -> None:
    row, mirrored = one(drawn, margin=distance), one([(b, a) for a, b in drawn], min_gain=distance)
    assert (row.p, row.p_worse) == (mirrored.p_worse, mirrored.p)
    assert row.difference == -mirrored.difference
    assert (row.low, row.high) == pytest.approx((-mirrored.high, -mirrored.low))
    assert (row.gained, row.lost) == (mirrored.lost, mirrored.gained)
    turned = {"passed": "failed", "failed": "passed", "undecided": "undecided"}
    assert mirrored.outcome == turned[row.outcome]


@settings(deadline=None, max_examples=40)
@given(values, ALLOWED, st.data())
def test_a_better_candidate_is_never_further_from_passing(
    drawn: Any, allowed: dict[str, float], data: st.DataObject
) -> None:
    right = data.draw(st.sets(st.integers(0, len(drawn) - 1), min_size=1))
    improved = [(1.0, theirs) if number in right else (ours, theirs) for number, (ours, theirs) in enumerate(drawn)]
    before, after = one(drawn, **allowed), one(improved, **allowed)
    if (before.gained is None) == (after.gained is None):  # else grades have become answers, which have another test
        assert after.p <= before.p + 1e-12
        assert after.p_worse >= before.p_worse - 1e-12


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_between_each_alone_and_bonferroni_and_keeps_their_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    for p, more in zip(ps, adjusted, strict=True):
        assert p <= more <= min(1.0, len(ps) * p) + 1e-12
    assert [more for _, more in sorted(zip(ps, adjusted, strict=True))] == sorted(adjusted)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_same_answers_are_no_gain_and_with_enough_documents_no_loss() -> None:
    same = [(1.0, 1.0), (0.0, 0.0)] * 100
    assert one(same, margin=0.05).outcome == "passed"
    assert one(same, margin=0.0).outcome == "undecided"
    assert one(same, min_gain=0.0).outcome == "undecided"
    few = one(same[:20], margin=0.05)
    assert few.outcome == "undecided"
    assert few.looks_good
    assert 30 <= (few.further or 0) <= 60  # 0.95 to the power of 59 is below 0.05


def test_worse_is_told_as_worse_and_where_less_is_better_more_is_worse() -> None:
    worse = [(0.0, 1.0)] * 30 + [(1.0, 1.0)] * 70
    row = one(worse, margin=0.05)
    assert (row.outcome, row.gained, row.lost, row.n) == ("failed", 0, 30, 100)
    assert row.high < -0.05
    assert row.further is None
    (less,) = compare({asked(higher_is_better=False, margin=0.05): pairs([(-b, -a) for a, b in worse])}, CONFIG)
    assert (less.candidate, less.incumbent, less.outcome) == (1.0, 0.7, "failed")


def test_grades_are_compared_by_resampling_and_sparse_ones_prove_nothing() -> None:
    base = np.random.default_rng(0).random(300)
    better = [(min(1.0, float(value) + 0.1), float(value)) for value in base]
    assert one(better, min_gain=0.02).outcome == "passed"
    assert one([(0.5, 0.5)] * 20, margin=0.05).outcome == "undecided"
    assert one([(0.5, 0.5)] * 20, margin=0.05).gained is None
    assert one([(12.0, 3.0)] * 30, min_gain=1.0).outcome == "passed"  # on a scale of its own


def test_several_tasks_share_the_chance_of_error() -> None:
    barely, clear = [(1.0, 0.0)] * 5 + [(1.0, 1.0)] * 45, [(1.0, 0.0)] * 30
    assert one(barely, min_gain=0.0).p == pytest.approx(1 / 32)
    first, second = asked("a", min_gain=0.0), asked("b", min_gain=0.0)
    together = compare({first: pairs(barely), second: pairs(barely)}, CONFIG)
    assert [row.outcome for row in together] == ["undecided", "undecided"]
    with_clear = compare({first: pairs(barely), second: pairs(clear)}, CONFIG)
    assert [row.outcome for row in with_clear] == ["passed", "passed"]


def draws(n: int, difference: float, differing: float, trials: int, seed: int = 7) -> Any:
    """Gained, lost and equal of each trial."""
    up, down = (differing + difference) / 2, (differing - difference) / 2
    return np.random.default_rng(seed).multinomial(n, [up, down, 1 - differing], size=trials)


def rate(found: Any, shown: Callable[[int, int], bool]) -> float:
    """The share of trials in which something is shown."""
    distinct, counts = np.unique(found[:, :2], axis=0, return_counts=True)
    shows = [shown(int(gained), int(lost)) for gained, lost in distinct]
    return float(counts[shows].sum() / len(found))


def outcome(n: int, **fields: float) -> Callable[[int, int], str]:
    def told(gained: int, lost: int) -> str:
        return one([(1.0, 0.0)] * gained + [(0.0, 1.0)] * lost + [(1.0, 1.0)] * (n - gained - lost), **fields).outcome

    return told


@pytest.mark.parametrize(
    ("differing", "fields"),
    [
        (0.12, {"margin": 0.1}),
        (0.3, {"min_gain": 0.0}),
        pytest.param(0.4, {"margin": 0.05}, marks=pytest.mark.slow),
        pytest.param(0.3, {"min_gain": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_a_model_at_the_margin_is_promoted_at_most_as_often_as_alpha_says(
    differing: float, fields: dict[str, float]
) -> None:
    difference = fields.get("min_gain", -fields.get("margin", 0.0))
    found, told = draws(50, difference, differing, 4_000), outcome(50, **fields)
    slack = 3 * (0.05 * 0.95 / 4_000) ** 0.5
    assert rate(found, lambda a, b: told(a, b) == "passed") <= CONFIG.alpha + slack
    assert rate(found, lambda a, b: told(a, b) == "failed") <= CONFIG.alpha + slack


def test_as_many_more_documents_as_are_told_show_it_about_as_often_as_power_says() -> None:
    more = one([(1.0, 0.0)] * 2 + [(0.0, 1.0)] * 2 + [(1.0, 1.0)] * 26, margin=0.1).further
    assert more is not None
    told = outcome(30 + more, margin=0.1)
    shown = rate(draws(30 + more, 0.0, 0.15, 400), lambda a, b: told(a, b) == "passed")
    assert 0.7 <= shown <= 0.95


def test_no_number_of_documents_is_told_where_the_difference_is_what_is_asked() -> None:
    assert further([0.05] * 50 + [-0.05] * 50, 1.0, 0.0, 0.05, 0.8) is None
