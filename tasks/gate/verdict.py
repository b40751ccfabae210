"""Whether a candidate may be promoted: a pure function of the bars, two tables of scores, and what a comparison showed."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from infra.errors import BadTask
from infra.frozen import Frozen
from tasks.gate.comparing import Compared
from tasks.gate.config import Bar, GateConfig
from tasks.gate.worse import Worse

Scores = Mapping[str, Mapping[str, float]]

# Scores are means of many numbers: 0.3 - 0.2 must pass a bar of 0.1.
ROUNDING = 1e-9


class Check(Frozen):
    """One bar, both scores, and whether the candidate's passed it."""

    task: str
    metric: str
    bar: str
    baseline: float
    candidate: float
    passed: bool

    def line(self) -> str:
        """The check on one line, for people."""
        return f"{self.task} {self.metric}: {self.candidate:.4g} (base {self.baseline:.4g}), asked {self.bar}"


class Verdict(Frozen):
    """Promote, hold, or neither shown. A hold is a result, not an error. `worse` are examples of what was lost; `prompting`
    compares with the base with examples in its prompt, and decides nothing."""

    promote: bool
    outcome: Literal["promote", "hold", "undecided"]
    against: str = ""
    checks: list[Check]
    compared: list[Compared] = Field(default_factory=list)
    worse: list[Worse] = Field(default_factory=list)
    prompting: list[Compared] = Field(default_factory=list)

    def failed(self) -> list[str]:
        """What was not passed, one line each."""
        missed = [check.line() for check in self.checks if not check.passed]
        return missed + [row.line() for row in self.compared if row.outcome != "passed"]


def judge(
    config: GateConfig,
    baseline: Scores,
    candidate: Scores,
    compared: Sequence[Compared] = (),
    worse: Sequence[Worse] = (),
    prompting: Sequence[Compared] = (),
) -> Verdict:
    """Every bar against task → metric → score of both models, and every comparison with the version in production; BadTask
    for a metric that was not measured.

    A better candidate never turns a promotion into anything else.
    """
    checks = [_check(bar, _score(bar, baseline, "baseline"), _score(bar, candidate, "model")) for bar in config.bars]
    outcomes = {row.outcome for row in compared}
    held = "failed" in outcomes or not all(check.passed for check in checks)
    promote = not held and "undecided" not in outcomes
    return Verdict(
        promote=promote,
        outcome="promote" if promote else "hold" if held else "undecided",
        against=(config.incumbent.version or "") if compared else "",
        checks=checks,
        compared=list(compared),
        worse=list(worse),
        prompting=list(prompting),
    )


def _check(bar: Bar, baseline: float, candidate: float) -> Check:
    sign = 1 if bar.higher_is_better else -1
    reached = bar.min is None or sign * (candidate - bar.min) >= -ROUNDING
    gained = bar.min_gain is None or sign * (candidate - baseline) - bar.min_gain >= -ROUNDING
    return Check(
        task=bar.task,
        metric=bar.metric,
        bar=bar_text(bar),
        baseline=baseline,
        candidate=candidate,
        passed=reached and gained,
    )


def bar_text(bar: Bar) -> str:
    """A bar in signs: `≥ 0.9, base + 0.2`."""
    at_least, plus = ("≥", "+") if bar.higher_is_better else ("≤", "-")
    parts = [
        "" if bar.min is None else f"{at_least} {bar.min:g}",
        "" if bar.min_gain is None else f"{at_least} base {plus} {bar.min_gain:g}",
    ]
    return ", ".join(part for part in parts if part)


def _score(bar: Bar, scores: Scores, whose: str) -> float:
    value = scores.get(bar.task, {}).get(bar.metric)
    if value is None:
        available = [f"{task}.{metric}" for task in sorted(scores) for metric in sorted(scores[task])]
        raise BadTask(
            f"the gate asks for a metric that the {whose} was not measured on",
            place="gate.bars",
            value=f"{bar.task}.{bar.metric}",
            remedy=f"there are: {', '.join(available) or 'none'}",
        )
    return value
