"""The shape of the recipe's `base:` section."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from infra.frozen import Frozen, NotInKey


class BaseConfig(Frozen):
    """The model that is tuned. Its content goes into the key by hash, so a moved folder is the same base."""

    model_name_or_path: Annotated[str, NotInKey()] = Field(
        description="a folder in Hugging Face layout, a .gguf file, or package://module/file.gguf; absolute once resolved"
    )
    sha256: Annotated[str | None, NotInKey()] = Field(
        default=None, description="the hash that a .gguf file must have; another one is refused"
    )
    license: str | None = Field(
        default=None, description="SPDX id of the weights' licence; by default what the model says of itself"
    )
    dtype: Literal["bfloat16", "float32", "float16"] = Field(
        default="bfloat16", description="the dtype that the weights are stored in"
    )

    @field_validator("sha256")
    @classmethod
    def _hex(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ValueError("base.sha256 is not 64 lower-case hex digits; `sha256sum FILE` prints it")
        return value
