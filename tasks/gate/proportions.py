"""Exact one-sided tests for answers that are right or wrong, paired by document.

Of `n` documents the candidate alone got `gained` right and the incumbent alone `lost`; the true difference is P(gained) -
P(lost). The tests ask whether it is above a threshold: at 0 with McNemar's exact test, elsewhere with an exact
unconditional test on Tango's score (docs/decisions/0035).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import betainc, gammaln, xlog1py, xlogy

TIE = 1e-9  # scores are square roots: equal ones may differ in their last digits
SHARES = 100  # shares of differing documents at which the chance is looked for, and
BETWEEN = 2e-4  # how much larger it may be between two of them
WIDE = 8.0  # standard deviations of a count outside of which nothing is left


def p_better(gained: int, lost: int, n: int, threshold: float) -> float:
    """The largest chance of outcomes at least as good as these, whatever the truth is that is not above the threshold."""
    if threshold == 0:
        return float(at_least(gained, gained + lost, 0.5))
    if abs(threshold) >= 1:
        return float(threshold > 0)
    return _unconditional(gained, lost, n, threshold)


def at_least(count: Any, of: Any, chance: Any) -> Any:
    """P(X ≥ count) of a binomial X; numbers or arrays."""
    count, of = np.asarray(count, float), np.asarray(of, float)
    inside = betainc(np.maximum(count, 1.0), np.maximum(of - count + 1.0, 1.0), chance)
    found = np.where(count <= 0, 1.0, np.where(count > of, 0.0, inside))
    return float(found) if found.ndim == 0 else found


def score(gained: Any, lost: Any, n: int, threshold: Any) -> Any:
    """Tango's score (1998): the difference above the threshold in its standard errors, if the truth were at the threshold."""
    a = 2.0 * n
    b = -gained - lost + (2.0 * n - gained + lost) * threshold
    c = -lost * threshold * (1.0 - threshold)
    losing = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # P(lost) as likely as it can be there
    variance = np.maximum(n * (2 * losing + threshold * (1 - threshold)), 0.0)
    excess = gained - lost - n * threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(excess) < TIE, 0.0, excess / np.sqrt(variance))


def interval(gained: int, lost: int, n: int, z: float) -> tuple[float, float]:
    """The differences that a two-sided score test does not exclude."""
    return _where_score(gained, lost, n, z), -_where_score(lost, gained, n, z)


def _where_score(gained: int, lost: int, n: int, z: float) -> float:
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2
        if score(gained, lost, n, middle) > z:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=4096)
def _unconditional(gained: int, lost: int, n: int, threshold: float) -> float:
    """The chance at the threshold of a score as high as this, at the share of differing documents where it is largest."""
    enough = _enough(n, threshold, float(score(gained, lost, n, threshold)) - TIE)
    least = abs(threshold)
    found = 0.0
    for step in np.linspace(0.0, 1.0, SHARES):
        share = least + (1 - least) * float(step) ** 2
        spread = WIDE * (n * share * (1 - share)) ** 0.5 + 10
        differ = np.arange(max(0, int(n * share - spread)), min(n, int(n * share + spread) + 1) + 1)
        differ = differ[differ <= n]
        upwards = min(1.0, max(0.0, (1 + threshold / share) / 2))
        found = max(found, float(_chance(differ, n, share) @ at_least(enough[differ], differ, upwards)))
    return min(1.0, found + BETWEEN)


def _enough(n: int, threshold: float, reached: float) -> Any:
    """For each number of differing documents, how many of them must be gained for a score of `reached`."""
    differ = np.arange(n + 1)
    low, high = np.zeros(n + 1, int), differ + 1
    while (low < high).any():
        middle = (low + high) // 2
        above = (middle > differ) | (score(middle, differ - middle, n, threshold) >= reached)
        high = np.where(above & (low < high), middle, high)
        low = np.where(~above & (low < high), middle + 1, low)
    return low


def _chance(count: Any, n: int, chance: float) -> Any:
    """P(X = count) of a binomial X."""
    ways = gammaln(n + 1) - gammaln(count + 1) - gammaln(n - count + 1)
    return np.exp(ways + xlogy(count, chance) + xlog1py(n - count, -chance))
