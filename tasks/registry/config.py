"""The shape of the recipe's `register:` section."""

import re
from typing import Literal

from pydantic import Field, field_validator

from infra.frozen import Frozen


class RegisterConfig(Frozen):
    """Where in MLflow's registry the model goes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="the registered model; letters, digits and . _ -",
    )
    alias: str = Field(
        default="candidate",
        pattern=r"^[a-z][a-z0-9_-]{0,49}$",
        description="the alias that a version gets when its verdict is to promote",
    )

    @field_validator("alias")
    @classmethod
    def _allowed(cls, value: str) -> str:
        if value == "latest" or re.fullmatch(r"v\d+", value):
            raise ValueError(
                f"register.alias: MLflow keeps `{value}` for itself; choose another word, such as candidate"
            )
        if value in ("champion", "previous"):
            raise ValueError(f"register.alias: `{value}` is moved by `luthier promote` and `rollback` alone")
        return value


class ProductionConfig(Frozen):
    """Which version a new one is compared with: what the alias champion means, or a version by its number."""

    name: str
    version: str | None = None


class DecisionConfig(Frozen):
    """What is to be done about a version: only look, or carry out what `who` decided. `verdict` is the content of the
    verdict that the decision rests on."""

    name: str
    version: int
    verdict: str
    act: Literal["look", "approve", "refuse"] = "look"
    who: str = ""
    why: str = ""
