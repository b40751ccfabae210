"""The shape of the recipe's `base:` section."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from infra.frozen import Frozen, NotInKey
from infra.storage import hub


class BaseConfig(Frozen):
    """The model that is tuned. Its content goes into the key by hash, so a moved folder is the same base."""

    model_name_or_path: Annotated[str, NotInKey()] = Field(
        description="an id on the hub, a folder in Hugging Face layout (also s3://bucket/folder), a .gguf file, or package://module/file.gguf"
    )
    revision: Annotated[str | None, NotInKey()] = Field(
        default=None,
        description="of a hub id: a commit, or a branch or tag, which is resolved to its commit; main. Of a folder in a bucket: the hash of its listing, which must hold",
    )
    sha256: Annotated[str | None, NotInKey()] = Field(
        default=None, description="the hash that a .gguf file must have; another one is refused"
    )
    copy_weights: Annotated[bool, NotInKey()] = Field(
        default=True,
        description="false: the store holds no weights, only which files of the hub or the bucket they are, with size and sha256; for models too large to have twice",
    )
    license: str | None = Field(
        default=None, description="SPDX id of the weights' licence; by default what the model says of itself"
    )
    dtype: Literal["bfloat16", "float32", "float16"] = Field(
        default="bfloat16", description="the dtype that the weights are stored in"
    )

    @property
    def is_hub_id(self) -> bool:
        """Whether the model is organisation/name on a hub. Paths are absolute once a recipe is loaded."""
        return bool(hub.ID.fullmatch(self.model_name_or_path))

    @property
    def is_in_bucket(self) -> bool:
        """Whether the model is a folder of an S3 store."""
        return self.model_name_or_path.startswith("s3://")

    @model_validator(mode="after")
    def _hub_or_file(self) -> "BaseConfig":
        if self.revision is not None and not (self.is_hub_id or self.is_in_bucket):
            raise ValueError("base.revision is for the hub or a bucket; a file or folder here is pinned by its content")
        if self.sha256 is not None and (self.is_hub_id or self.is_in_bucket):
            raise ValueError(
                "base.sha256 is for a .gguf file; a hub's model is pinned by base.revision, a bucket's by itself"
            )
        if not (self.copy_weights or self.is_hub_id or self.is_in_bucket):
            raise ValueError(
                "base.copy_weights: false is for the hub or a bucket, where every machine finds the weights; leave it out for a file or folder here"
            )
        return self

    @field_validator("sha256")
    @classmethod
    def _hex(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ValueError("base.sha256 is not 64 lower-case hex digits; `sha256sum FILE` prints it")
        return value
