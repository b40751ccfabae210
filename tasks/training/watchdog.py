"""Ends a training that learns nothing any more, and names the rows: losses that are no numbers, or too high for too long.

Decided on what the Trainer logs, which is reduced over all ranks, so that all of them end at once; and on nothing but
the history that checkpoints carry, so that a run that was resumed ends where the same run would have ended.
"""

import math
from typing import Any

from transformers import TrainerCallback

from infra.errors import BadTraining
from tasks.training.blame import Blame, RowLoss, worst


class Watchdog(TrainerCallback):  # type: ignore[misc]
    """BadTraining at the first loss or gradient that is no number, and after `patience` logged losses above `threshold`."""

    def __init__(self, blame: Blame, threshold: float | None, patience: int) -> None:
        self.blame, self.threshold, self.patience = blame, threshold, patience

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(value):
                raise self._no_number(name, value, _logged(state))
        if "loss" not in (logs or {}):
            return
        logged = _logged(state)
        last = logged[-self.patience :] if self.threshold is not None else []
        if len(last) == self.patience and all(line["loss"] > self.threshold for line in last):
            raise self._too_high(last, logged)
        self.blame.forget(_before(logged, 0 if self.threshold is None else self.patience - 1))

    def _no_number(self, name: str, value: float, logged: list[dict[str, Any]]) -> BadTraining:
        rows = self.blame.rows(_before(logged, 1))
        bad = [row for row in rows if not row.good]
        step = min((row.step for row in bad), default=logged[-1]["step"])
        there, bad = [row for row in rows if row.step == step], [row for row in bad if row.step == step]
        return BadTraining(
            f"{name} is not a number",
            place=f"step {step}",
            value=f"{value}; {_told(there, bad)}",
            remedy="look at these rows, lower train.learning_rate, or raise warmup_steps",
        )

    def _too_high(self, last: list[dict[str, Any]], logged: list[dict[str, Any]]) -> BadTraining:
        rows = self.blame.rows(_before(logged, len(last)))
        losses = ", ".join(f"{line['loss']:.3g}" for line in last)
        return BadTraining(
            f"the loss was above {self.threshold:g} {len(last)} times in a row",
            place=f"steps {', '.join(str(line['step']) for line in last)}",
            value=f"{losses}; its highest rows: {worst(rows)}" if rows else losses,
            remedy="look at these rows, lower train.learning_rate, or raise train.loss_watchdog_threshold",
        )


def _told(there: list[RowLoss], bad: list[RowLoss]) -> str:
    if not there:
        return "its rows are not known"
    if not bad:
        return f"yet every row's loss is one; the highest: {worst(there)}"
    if len(bad) == len(there):
        return f"nor is that of any of the {len(there)} rows of the step: the weights are none any more, or never were"
    return f"rows that give none: {worst(bad)}"


def _logged(state: Any) -> list[dict[str, Any]]:
    return [line for line in state.log_history if "loss" in line]


def _before(logged: list[dict[str, Any]], count: int) -> int:
    """The step after which the last `count` logged losses begin."""
    return int(logged[-count - 1]["step"]) if len(logged) > count else 0
