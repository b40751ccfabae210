"""The shape of the recipe's `register:` section."""

from pydantic import Field

from infra.frozen import Frozen


class RegisterConfig(Frozen):
    """Where in MLflow's registry the model goes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="the registered model; letters, digits and . _ -",
    )
    alias: str = Field(
        default="candidate",
        pattern=r"^[a-z][a-z_-]{0,49}$",
        description="the alias that a version gets when its verdict is to promote",
    )
