"""The shape of the recipe's `gate:` section."""

from pydantic import Field, model_validator

from infra.frozen import Frozen


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


class GateConfig(Frozen):
    """What a tuned model must reach to be promoted: every bar."""

    bars: list[Bar] = Field(min_length=1, description="all of them must be passed")
