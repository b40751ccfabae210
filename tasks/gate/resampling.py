"""A paired bootstrap for scores that are no yes or no: is the mean difference above a threshold?

The weights of the documents are drawn anew each time (Rubin 1981), with one document more, on which the candidate does as
badly as is possible (Gaffke 2005): without it, ten documents on which nothing differs would prove that nothing ever does.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

DRAWS = 4_000
SEED = 20_261_125
ROOM = 2_000_000  # weights at once


def p_better(differences: Any, threshold: float, worst: float) -> float:
    """The share of draws in which the mean is not above the threshold; no difference is below `worst`.

    The order of the documents does not matter, and equal documents get an equal answer: the seed is fixed.
    """
    found = means(differences, worst)
    return float((1 + (found <= threshold).sum()) / (1 + len(found)))


def interval(differences: Any, worst: float, alpha: float) -> tuple[float, float]:
    """The thresholds that neither side excludes, each at `alpha`."""
    low = float(np.quantile(means(differences, worst), alpha))
    return low, -float(np.quantile(means(-np.asarray(differences), worst), alpha))


def means(differences: Any, worst: float) -> Any:
    """The mean under each draw of weights."""
    points = np.concatenate([[worst], np.sort(np.asarray(differences, float))])
    return np.concatenate([weights @ points / weights.sum(axis=1) for weights in _weights(len(points))])


def _weights(points: int) -> Iterator[Any]:
    generator = np.random.default_rng(SEED)
    at_once = max(1, ROOM // points)
    for first in range(0, DRAWS, at_once):
        yield generator.standard_exponential((min(at_once, DRAWS - first), points))
