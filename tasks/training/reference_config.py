"""How the base is asked for the reference: the part of a training that decides it."""

from typing import Annotated, Literal

from pydantic import JsonValue

from infra.frozen import Frozen, NotInKey
from tasks.training.config import TrainConfig
from tasks.training.zero import Preset


class ReferenceConfig(Frozen):
    """How the base is held, as in the training that follows, and where it runs."""

    dtype: Literal["bfloat16", "float16", "float32"]
    precision: Literal["bf16", "fp16", "fp32"]
    load_in_4bit: bool
    deepspeed: Annotated[Preset | dict[str, JsonValue], NotInKey()]
    num_processes: Annotated[int | None, NotInKey()]
    ddp_timeout: Annotated[int, NotInKey()]

    @classmethod
    def of(cls, config: TrainConfig) -> "ReferenceConfig":
        """What a training needs."""
        return cls(
            dtype=config.held,
            precision=config.precision,
            load_in_4bit=config.tuning.load_in_4bit,
            deepspeed=config.deepspeed,
            # It runs on one node; trainings of several have as many ranks on each.
            num_processes=config.num_processes and config.num_processes // config.resources.nodes,
            ddp_timeout=config.ddp_timeout,
        )
