"""The shape of the recipe's `merge:` section."""

from typing import Literal

from pydantic import Field

from infra.frozen import Frozen
from infra.launch.resources import OnOneNode, Resources


class MergeConfig(Frozen):
    """How the adapter goes into its base, and how alike both must behave afterwards."""

    method: Literal["add", "none"] = Field(
        default="add",
        description="add: what the adapter learned is added to the base's weights; none: nothing is merged, and the adapter itself is registered, with the name of its base. The fields below are then without effect",
    )
    base: Literal["auto", "dequantized", "original"] = Field(
        default="auto",
        description="what is added to: the weights as 4 bits hold them, or as they were; "
        "auto takes what the adapter was trained on",
    )
    dtype: Literal["bfloat16", "float32", "float16"] = Field(
        default="bfloat16", description="the dtype of the merged weights; the sum itself is in float32"
    )
    max_kl: float = Field(
        default=0.05, gt=0, description="the most nats a token by which the merged model may differ from the adapter"
    )
    min_top1: float = Field(
        default=0.95, ge=0, le=1, description="the least share of answer tokens on which both agree"
    )
    parity_prompts: int = Field(default=16, ge=1, le=1024, description="held-out prompts that both are asked")
    resources: OnOneNode = Field(
        default_factory=Resources,
        description="what merging takes of a cluster: the fields of `train.resources`, but for nodes",
    )
