"""The METHODS table: how a model can be tuned. A row is a config class; behaviour of its own gets a file here."""

from typing import Annotated, Literal

from pydantic import Field

from infra.frozen import Frozen

METHOD = "full: all weights; lora: an adapter; qlora: an adapter of a base that is held in 4 bits"


class Full(Frozen):
    """Every weight is trained: the most capable, and 16 bytes of state a parameter (fp32 Adam) to keep somewhere."""

    method: Literal["full"] = Field("full", description=METHOD)

    @property
    def adapter(self) -> bool:
        """Whether the result is an adapter beside the base instead of a whole model."""
        return False

    @property
    def load_in_4bit(self) -> bool:
        """Whether the base is held in 4 bits while training."""
        return False


class Lora(Frozen):
    """Low-rank updates of the linear layers (Hu et al. 2021); `qlora` holds the base in NF4 (Dettmers et al. 2023)."""

    method: Literal["lora", "qlora"] = Field(description=METHOD)
    lora_r: int = Field(16, ge=1, le=1024, description="rank of the update")
    lora_alpha: int = Field(32, ge=1, description="the update is scaled by lora_alpha / lora_r")
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of the adapter's inputs that is dropped in training"
    )
    target_modules: str | list[str] = Field("all-linear", description="module names, or all-linear")
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(lora_r) (Kalajdzievski 2023)")

    @property
    def adapter(self) -> bool:
        """Whether the result is an adapter beside the base instead of a whole model."""
        return True

    @property
    def load_in_4bit(self) -> bool:
        """Whether the base is held in 4 bits while training."""
        return self.method == "qlora"


METHODS: dict[str, type[Full] | type[Lora]] = {"full": Full, "lora": Lora, "qlora": Lora}

Tuning = Annotated[Full | Lora, Field(discriminator="method")]
