"""The exact tests: their level over every truth, and that a better outcome never looks worse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.gate.proportions import interval, p_better, score

ALPHA = 0.05


def outcomes(n: int) -> list[tuple[int, int]]:
    return [(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)]


def chance(gained: int, lost: int, n: int, difference: float, differing: float) -> float:
    up, down = (differing + difference) / 2, (differing - difference) / 2
    ways = math.comb(n, gained) * math.comb(n - gained, lost)
    return float(ways * up**gained * down**lost * (1 - differing) ** (n - gained - lost))


@pytest.mark.parametrize(
    ("n", "threshold"), [(12, -0.1), (16, 0.1), (25, 0.0), pytest.param(40, -0.05, marks=pytest.mark.slow)]
)
def test_at_the_threshold_the_chance_of_passing_is_at_most_alpha_whatever_share_differs(
    n: int, threshold: float
) -> None:
    passing = [(a, b) for a, b in outcomes(n) if p_better(a, b, n, threshold) <= ALPHA]
    for differing in np.linspace(abs(threshold), 1.0, 17):
        passed = sum(chance(a, b, n, threshold, float(differing)) for a, b in passing)
        assert passed <= ALPHA, differing
    assert passing


def test_at_zero_it_is_mcnemars_test() -> None:
    assert p_better(8, 2, 50, 0.0) == pytest.approx(56 / 1024)
    assert p_better(0, 0, 50, 0.0) == 1.0
    assert p_better(5, 0, 5, 0.0) == pytest.approx(1 / 32)


def test_the_score_is_tangos() -> None:
    # At no threshold it is McNemar's; elsewhere the truth under which it is measured fulfils the threshold.
    assert float(score(12, 5, 40, 0.0)) == pytest.approx(7 / math.sqrt(17))
    assert float(score(3, 9, 60, -0.1)) == 0.0


@pytest.mark.parametrize("threshold", [-0.3, -0.02, 0.0, 0.05])
@pytest.mark.parametrize("n", [1, 9, pytest.param(24, marks=pytest.mark.slow)])
def test_a_document_more_that_was_gained_or_one_fewer_lost_never_raises_p(n: int, threshold: float) -> None:
    p = {pair: p_better(*pair, n, threshold) for pair in outcomes(n)}
    for (gained, lost), found in p.items():
        for better in ((gained + 1, lost), (gained, lost - 1), (gained + 1, lost - 1)):
            if better in p:
                assert p[better] <= found + 1e-12, (gained, lost, better)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_the_scores_are_in_the_same_order_as_outcomes_for_larger_numbers(drawn: tuple[int, int, int]) -> None:
    n, gained, lost = drawn
    if gained + lost >= n:
        return
    for threshold in (-0.1, -0.01, 0.03):
        assert score(gained + 1, lost, n, threshold) >= score(gained, lost, n, threshold) - 1e-9
        assert score(gained, lost + 1, n, threshold) <= score(gained, lost, n, threshold) + 1e-9


def test_the_interval_holds_what_was_measured_and_mirrors() -> None:
    low, high = interval(12, 5, 200, 1.645)
    assert low < 7 / 200 < high
    assert interval(5, 12, 200, 1.645) == pytest.approx((-high, -low))
    low, high = interval(0, 0, 100, 1.645)
    assert low == pytest.approx(-high)
    assert 0.01 < high < 0.05


def test_margins_beyond_what_can_differ_are_always_or_never_passed() -> None:
    assert p_better(0, 10, 10, -1.0) == 0.0
    assert p_better(10, 0, 10, 1.0) == 1.0
