"""The shape of the recipe's `gate:` section."""

from pydantic import Field, model_validator

from infra.frozen import Frozen

NOBODY = "none"  # gate.incumbent.version: compare with no version


class Bar(Frozen):
    """What one metric of one task must reach. For a metric where less is better, `min` is the most that is allowed
    and `min_gain` is by how much it must fall."""

    task: str = Field(description="a task or group of the evaluation")
    metric: str = Field(description="its name in results.json, such as exact_match")
    min: float | None = Field(None, description="the score that must be reached, whatever the baseline's")
    min_gain: float | None = Field(None, description="how much better than the baseline it must be")
    higher_is_better: bool = Field(True, description="false for a metric such as perplexity")

    @model_validator(mode="after")
    def _asks_something(self) -> "Bar":
        if self.min is None and self.min_gain is None:
            raise ValueError(f"the bar on {self.task}.{self.metric} asks for nothing: set min, min_gain or both")
        return self


class Comparison(Frozen):
    """What one metric of one task must show against the version in production, document by document."""

    task: str = Field(description="a task of the evaluation; not a group")
    metric: str = Field(description="its name in results.json; a mean over documents")
    margin: float | None = Field(None, ge=0, description="instead of gate.incumbent.margin, for this one")
    min_gain: float | None = Field(
        None, ge=0, description="it must be better by more than this; the margin is then void"
    )
    higher_is_better: bool = Field(True, description="false for a metric where less is better")

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "Comparison":
        if self.margin is not None and self.min_gain is not None:
            raise ValueError(f"{self.task}.{self.metric}: margin allows a loss and min_gain asks for a gain; set one")
        return self


class IncumbentConfig(Frozen):
    """How a model is compared with the version in production. Where there is none, the bars alone decide."""

    version: str | None = Field(
        None,
        pattern=r"^(none|[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[0-9]{1,9})$",
        description="compare with this version, as `tickets/3`, or with `none`; default: what the alias champion means when the run starts",
    )
    margin: float = Field(0.05, ge=0, description="how much worse a score may be and still count as good enough")
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.2,
        description="the chance that is taken of promoting a model that is worse than the margin allows",
    )
    power: float = Field(
        0.8, ge=0.5, lt=1, description="how sure to be of an answer from as many documents as the verdict asks for"
    )
    tasks: list[Comparison] = Field(
        default_factory=list, description="what is compared; default: the metric of every bar, with this margin"
    )


class GateConfig(Frozen):
    """What a tuned model must reach to be promoted: every bar, and enough in every comparison."""

    bars: list[Bar] = Field(min_length=1, description="all of them must be passed")
    incumbent: IncumbentConfig = Field(
        default_factory=IncumbentConfig, description="the comparison with the version in production"
    )

    def comparisons(self) -> list[Comparison]:
        """What is compared with the version in production, each with its own margin or gain."""
        asked = self.incumbent.tasks or [
            Comparison(task=bar.task, metric=bar.metric, higher_is_better=bar.higher_is_better) for bar in self.bars
        ]
        unique = {(one.task, one.metric): one for one in asked}
        return [
            one if one.margin is not None or one.min_gain is not None else _with_margin(one, self.incumbent.margin)
            for one in unique.values()
        ]

    def against(self, version: str | None) -> "GateConfig":
        """The same with the version that is compared with, or with nobody: what a run found, a rerun need not look for."""
        found = self.incumbent.model_copy(update={"version": version or NOBODY})
        return self.model_copy(update={"incumbent": found})


def _with_margin(one: Comparison, margin: float) -> Comparison:
    return one.model_copy(update={"margin": margin})
