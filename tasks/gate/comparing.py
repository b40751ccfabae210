"""What paired outcomes show: good enough, not good enough, or neither yet. Pure functions."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Literal

from infra.frozen import Frozen
from tasks.gate import proportions, resampling
from tasks.gate.config import Comparison, IncumbentConfig
from tasks.gate.samples import Pairs

Outcome = Literal["passed", "failed", "undecided"]
MOST = 10_000_000  # documents: a difference that needs more will never be told


class Compared(Frozen):
    """One metric of one task on `n` documents: both means, the difference (more is better) with its interval, and what
    that shows.

    `p` is the chance of looking so good without being good enough, `p_worse` of looking so bad without being bad; both
    are Holm's, over all tasks. `gained` and `lost` are the documents that only one of the two got right, where answers
    are right or wrong. `further` is how many documents more would show it, if the difference is what it looks like.
    """

    task: str
    metric: str
    asked: str
    n: int
    incumbent: float
    candidate: float
    difference: float
    low: float
    high: float
    threshold: float
    gained: int | None
    lost: int | None
    p: float
    p_worse: float
    outcome: Outcome
    further: int | None = None

    @property
    def looks_good(self) -> bool:
        """Whether the difference as it was measured would be enough."""
        return self.difference > self.threshold

    def line(self) -> str:
        """It on one line, for people."""
        said = {"passed": "shown", "failed": "shown to be missed", "undecided": "not shown either way"}[self.outcome]
        return (
            f"{self.task} {self.metric}: {self.candidate:.4g} (in production {self.incumbent:.4g}) on {self.n} documents, "
            f"asked {self.asked}: {said}"
        )


def compare(asked: Mapping[Comparison, Pairs], config: IncumbentConfig) -> list[Compared]:
    """Each comparison's outcome. The chance that any of them is `passed` wrongly is at most `alpha`, that any is `failed`
    wrongly too."""
    passing = holm([_p(pairs, threshold(one)) for one, pairs in asked.items()])
    failing = holm([_p(pairs.swapped, -threshold(one)) for one, pairs in asked.items()])
    outcomes = [_outcome(p, worse, config.alpha) for p, worse in zip(passing, failing, strict=True)]
    level = config.alpha / max(1, outcomes.count("undecided"))
    rows = zip(asked.items(), passing, failing, outcomes, strict=True)
    return [_compared(one, pairs, p, worse, outcome, config, level) for (one, pairs), p, worse, outcome in rows]


def threshold(asked: Comparison) -> float:
    """The difference that must be exceeded."""
    return -(asked.margin or 0.0) if asked.min_gain is None else asked.min_gain


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted so that all that are at most alpha may be believed together (Holm 1979)."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


def _outcome(p: float, worse: float, alpha: float) -> Outcome:
    if p <= alpha:
        return "passed"
    return "failed" if worse <= alpha else "undecided"


def _p(pairs: Pairs, above: float) -> float:
    """The chance of outcomes as good as these if the true difference is not above a threshold."""
    if _right_or_wrong(pairs):
        return proportions.p_better(*_counts(pairs), len(pairs.candidate), above)
    return resampling.p_better(_differences(pairs), above, -_widest(pairs))


def _right_or_wrong(pairs: Pairs) -> bool:
    return {abs(value) for value in (*pairs.candidate, *pairs.incumbent)} <= {0.0, 1.0}


def _counts(pairs: Pairs) -> tuple[int, int]:
    differences = _differences(pairs)
    return sum(one > 0 for one in differences), sum(one < 0 for one in differences)


def _differences(pairs: Pairs) -> list[float]:
    return [ours - theirs for ours, theirs in zip(pairs.candidate, pairs.incumbent, strict=True)]


def _widest(pairs: Pairs) -> float:
    """The most by which two models can differ on a document: 1 for scores within 0 and 1, else the most that was seen."""
    if all(0 <= abs(value) <= 1 for value in (*pairs.candidate, *pairs.incumbent)):
        return 1.0
    return max(abs(one) for one in _differences(pairs)) or 1.0


def _compared(
    asked: Comparison, pairs: Pairs, p: float, worse: float, outcome: Outcome, config: IncumbentConfig, level: float
) -> Compared:
    n, differences = len(pairs.candidate), _differences(pairs)
    gained, lost = _counts(pairs) if _right_or_wrong(pairs) else (None, None)
    if gained is None or lost is None:
        low, high = resampling.interval(differences, -_widest(pairs), config.alpha)
    else:
        low, high = proportions.interval(gained, lost, n, NormalDist().inv_cdf(1 - config.alpha))
    sign = 1 if asked.higher_is_better else -1
    needed = further(differences, _widest(pairs), threshold(asked), level, config.power)
    return Compared(
        task=asked.task,
        metric=asked.metric,
        asked=_text(asked),
        n=n,
        incumbent=sign * fmean(pairs.incumbent),
        candidate=sign * fmean(pairs.candidate),
        difference=fmean(differences),
        low=low,
        high=high,
        threshold=threshold(asked),
        gained=gained,
        lost=lost,
        p=p,
        p_worse=worse,
        outcome=outcome,
        further=needed if outcome == "undecided" else None,
    )


def further(differences: Sequence[float], widest: float, above: float, alpha: float, power: float) -> int | None:
    """How many documents more would show, with chance `power`, on which side of a threshold the true difference lies, if it
    is the one that was measured. None where no number would.

    By the normal approximation, with half a document more on which all differs: even the same answers may differ once.
    """
    n, mean = len(differences), fmean(differences)
    variance = (math.fsum(one * one for one in differences) + widest**2 / 2) / (n + 1 / 2) - mean**2
    normal, distance = NormalDist(), abs(mean - above)
    reach = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    if distance * math.sqrt(MOST) < reach * math.sqrt(variance):
        return None
    return max(1, math.ceil(reach**2 * variance / distance**2) - n)


def _text(asked: Comparison) -> str:
    """What is asked, in signs; differences are so that more is better."""
    if asked.min_gain is None:
        return (
            f"> production − {asked.margin or 0:g}"
            if asked.higher_is_better
            else f"< production + {asked.margin or 0:g}"
        )
    return f"> production + {asked.min_gain:g}" if asked.higher_is_better else f"< production − {asked.min_gain:g}"
