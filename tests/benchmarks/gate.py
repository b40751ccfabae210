"""`make bench-gate`: how often the gate errs, and how often it sees what is there, by simulation. Prints JSON lines.

A trial draws the answers of two models to n documents from a truth that is known, and asks the gate's own functions.
"""

from bisect import bisect_left
from functools import lru_cache
from typing import Any

import numpy as np

from tasks.gate import proportions, resampling
from tasks.gate.comparing import holm
from tasks.gate.config import IncumbentConfig
from tests.benchmarks.figures import figure, note

TRIALS = 400_000
SLOW_TRIALS = 10_000  # where every trial is asked about
MARGIN, DIFFERING = 0.05, 0.15  # what the power is told for: models that differ on 15 of 100 documents
ALPHA = IncumbentConfig().alpha
SIZES = (50, 200, 1_000)


def main() -> None:
    worst = max(
        _level(n, margin, differing) for n in SIZES for margin in (0.02, 0.05) for differing in (0.06, 0.15, 0.4)
    )
    worst = max(worst, *(_level(n, 0.0, differing) for n in SIZES for differing in (0.06, 0.4)))
    figure("gate.false_promotion", worst, target=ALPHA, better="lower", unit="share", n=TRIALS)
    figure(
        "gate.false_promotion_3_tasks",
        _three(-MARGIN, "level"),
        target=ALPHA,
        better="lower",
        unit="share",
        n=SLOW_TRIALS,
    )
    grades = max(_grades(n, kind) for n in (50, 200) for kind in ("even", "sparse"))
    figure("gate.false_promotion_grades", grades, target=ALPHA, better="lower", unit="share", n=SLOW_TRIALS)
    held = max(_share(n, -MARGIN, -MARGIN, DIFFERING, "failed") for n in SIZES)
    figure("gate.false_hold", held, target=ALPHA, better="lower", unit="share", n=TRIALS)
    for n in SIZES:
        equal = _share(n, 0.0, -MARGIN, DIFFERING, "passed")
        figure(f"gate.power_{n}", equal, better="higher", unit="share", n=TRIALS)
        better = _share(n, 0.05, 0.0, DIFFERING, "passed")
        figure(f"gate.power_{n}_gain", better, better="higher", unit="share", n=TRIALS)
        worse = _share(n, -0.15, -MARGIN, 0.25, "failed")
        figure(f"gate.power_{n}_hold", worse, better="higher", unit="share", n=TRIALS)
    figure("gate.power_1000_3_tasks", _three(0.0, "holm"), better="higher", unit="share", n=SLOW_TRIALS)
    figure("gate.power_1000_3_tasks_without_holm", _three(0.0, "alone"), better="higher", unit="share", n=SLOW_TRIALS)


def drawn(n: int, difference: float, differing: float, seed: int = 0) -> Any:
    """Trials × (gained, lost, equal)."""
    chances = [(differing + difference) / 2, (differing - difference) / 2, 1 - differing]
    return np.random.default_rng([seed, n]).multinomial(n, chances, size=TRIALS)


def _share(n: int, difference: float, threshold: float, differing: float, outcome: str) -> float:
    found = share(n, difference, threshold, differing, outcome)
    note(f"n {n}, difference {difference:+}, asked {threshold:+}, differing {differing}: {outcome} {found:.4f}")
    return found


def share(n: int, difference: float, threshold: float, differing: float, outcome: str) -> float:
    """The share of trials with this outcome."""
    found = drawn(n, difference, differing)
    if outcome == "failed":
        found, threshold = found[:, [1, 0, 2]], -threshold
    return _passed(found, n, threshold)


def _passed(found: Any, n: int, threshold: float) -> float:
    """The share of trials that pass. Where p only falls as the score rises, the lowest score that passes tells of all."""
    distinct, counts = np.unique(found[:, :2], axis=0, return_counts=True)
    ordered = np.argsort(proportions.score(distinct[:, 0], distinct[:, 1], n, threshold))

    def passes(index: int) -> bool:
        gained, lost = distinct[ordered[index]]
        return proportions.p_better(int(gained), int(lost), n, threshold) <= ALPHA

    if threshold == 0:  # McNemar's p has an order of its own
        return float(counts[ordered[[passes(index) for index in range(len(ordered))]]].sum() / len(found))
    first = bisect_left(range(len(ordered)), True, key=passes)
    return float(counts[ordered[first:]].sum() / len(found))


def _level(n: int, margin: float, differing: float) -> float:
    return _share(n, -margin, -margin, differing, "passed")


def _three(difference: float, kind: str) -> float:
    """Three tasks at once, all of them passed. For the level two are clearly good, and one is at the margin."""
    truths = [difference, 0.1, 0.1] if kind == "level" else [difference] * 3
    n = 200 if kind == "level" else 1_000
    tasks = [drawn(n, one, DIFFERING, seed) for seed, one in enumerate(truths)]
    ask = lru_cache(maxsize=None)(lambda a, b: proportions.p_better(a, b, n, -MARGIN))
    passed = 0
    for trial in range(SLOW_TRIALS):
        ps = [ask(int(task[trial, 0]), int(task[trial, 1])) for task in tasks]
        passed += max(ps if kind == "alone" else holm(ps)) <= ALPHA
    return passed / SLOW_TRIALS


def _grades(n: int, kind: str) -> float:
    """Scores between 0 and 1 whose mean difference is at the margin: small ones everywhere, or a large one now and then."""
    chance = np.random.default_rng(n)
    passed = 0
    for _ in range(SLOW_TRIALS):
        if kind == "even":
            differences = chance.normal(-MARGIN, 0.2, n).clip(-MARGIN - 0.9, -MARGIN + 0.9)
        else:
            differences = -(chance.random(n) < MARGIN).astype(float)
        passed += resampling.p_better(differences, -MARGIN, -1.0) <= ALPHA
    note(f"grades, n {n}, {kind}: passed {passed / SLOW_TRIALS:.4f}")
    return passed / SLOW_TRIALS


if __name__ == "__main__":
    main()
