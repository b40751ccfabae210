"""A step is a stage with its inputs: what is to be made, and under which key."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, JsonValue

from infra.errors import ErrorReport
from infra.frozen import Frozen
from infra.launch.resources import Resources
from infra.storage.receipt import Receipt, input_key


@dataclass(frozen=True)
class Step:
    """One unit of work: the same step has the same key on any machine.

    `material` is what the key needs besides the config (hashes of source files); `aside` are inputs
    of which the key has only what `material` says of them; `always` marks a step that
    reconciles an outside system and so runs even where it was committed before. The work is done by
    `tasks.<stage>.worker`, by another folder's worker where `folder` names one, or by any `module`, on `resources`.
    """

    stage: str
    version: int
    config: Frozen
    inputs: dict[str, Receipt] = field(default_factory=dict)
    material: dict[str, JsonValue] = field(default_factory=dict)
    aside: dict[str, Receipt] = field(default_factory=dict)
    always: bool = False
    folder: str = ""
    module: str = ""
    resources: Resources = field(default_factory=Resources)

    @property
    def worker(self) -> str:
        """The module that does the work, run as `python -m <worker> <spec key>`."""
        return self.module or f"tasks.{self.folder or self.stage}.worker"

    @cached_property
    def key(self) -> str:
        """The input key (see infra.storage.receipt)."""
        made_of: dict[str, Any] = {"config": self.config.material(), "material": self.material}
        return input_key(self.stage, self.version, made_of, self.inputs)


def spec(step: Step, attempt: str) -> "Spec":
    """A step as a worker is handed it."""
    return Spec(
        stage=step.stage,
        version=step.version,
        key=step.key,
        attempt=attempt,
        always=step.always,
        config=step.config.model_dump(mode="json"),
        inputs=step.inputs | step.aside,
    )


def incarnation(attempt: str, restarts: int) -> str:
    """The attempt of workers that a cluster has begun anew: what earlier ones told and stored is not theirs."""
    return f"{attempt}-{restarts}" if restarts else attempt


class Spec(Frozen):
    """A step on its way to a worker, as JSON in the store. No secret has a field here."""

    stage: str
    version: int
    key: str
    attempt: str
    always: bool = False
    config: dict[str, JsonValue]
    inputs: dict[str, Receipt]


class Launch(Frozen):
    """One launch of a step: when, how it ended and why, what the next one does otherwise, what the worker noted."""

    attempt: str
    started: str
    ended: str = ""
    outcome: str
    reason: str = ""
    change: str = ""
    notes: dict[str, str] = Field(default_factory=dict)


class Beat(Frozen):
    """A sign of life with what people want to know. `at` is the worker's clock in seconds since 1970.

    `notes` hold for the whole launch; `launches` are all so far, told by the stage when one of them has failed.
    """

    at: float
    phase: str = ""
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    launches: list[Launch] = Field(default_factory=list)

    def line(self) -> str:
        """The beat on one line of a log."""
        share = f" {self.step}/{self.steps}" if self.steps else ""
        eta = f", {self.eta_s / 60:.1f} min left" if self.eta_s is not None else ""
        figures = "".join(f", {name} {value:.4g}" for name, value in self.figures.items())
        return f"{self.phase}{share}{eta}{figures}"


class Outcome(Frozen):
    """How a worker ended, in its own words. The stage trusts this and no exit status.

    `done`: its node did its part of what the first node commits.
    """

    state: Literal["committed", "done", "failed"]
    receipt: Receipt | None = None
    error: ErrorReport | None = None
