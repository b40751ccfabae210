"""The OBJECTIVES table: what a training wants of the model. A row is a config class; its loss is in judging.py."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infra.frozen import Frozen

OBJECTIVE = (
    "sft: to write the answers; dpo: to prefer the chosen of two; kto: to write what was liked, and not what was not"
)
BETA = "how firmly the model is held to where it began: more is firmer"


class Sft(Frozen):
    """Supervised fine-tuning, on conversations, completions and documents."""

    method: Literal["sft"] = Field("sft", description=OBJECTIVE)

    @property
    def judged(self) -> str:
        """The kind of judged rows that it trains on, by the dataset's summary."""
        return ""


class Dpo(Frozen):
    """Direct preference optimisation on pairs of answers (Rafailov et al. 2023), with TRL's names."""

    method: Literal["dpo"] = Field(description=OBJECTIVE)
    beta: float = Field(0.1, gt=0, description=BETA)
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = Field(
        "sigmoid",
        description="sigmoid: DPO; ipo (Azar 2023): where it overfits; robust: where labels are noisy; apo_zero, apo_down (D'Oosterlinck 2024): the chosen are better, or worse, than what the model writes",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="of loss_type robust: the share of pairs that are the wrong way round"
    )

    @model_validator(mode="after")
    def _smoothing_has_an_effect(self) -> "Dpo":
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError("label_smoothing is of loss_type: robust, and has no effect on another")
        return self

    @property
    def judged(self) -> str:
        """The kind of judged rows that it trains on, by the dataset's summary."""
        return "pairs"


class Kto(Frozen):
    """Kahneman-Tversky optimisation on answers with a label (Ethayarajh et al. 2024), with TRL's names."""

    method: Literal["kto"] = Field(description=OBJECTIVE)
    beta: float = Field(0.1, gt=0, description=BETA)
    loss_type: Literal["kto", "apo_zero_unpaired"] = Field(
        "kto", description="apo_zero_unpaired (D'Oosterlinck 2024) does without the drift that kto measures"
    )
    desirable_weight: float = Field(1.0, gt=0, description="weight of what was liked")
    undesirable_weight: float = Field(
        1.0, gt=0, description="weight of what was not; weight × rows of both should be alike, up to 4 to 3"
    )

    @property
    def judged(self) -> str:
        """The kind of judged rows that it trains on, by the dataset's summary."""
        return "labels"


OBJECTIVES: dict[str, type[Sft] | type[Dpo] | type[Kto]] = {"sft": Sft, "dpo": Dpo, "kto": Kto}
KINDS = {
    "": "rows of one answer each",
    "pairs": "pairs (chosen and rejected)",
    "labels": "answers with a label",
}

Objective = Annotated[Sft | Dpo | Kto, Field(discriminator="method")]
