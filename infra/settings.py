"""Where things are on this machine, from LUTHIER_* variables. What a run does is the recipe's business."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import BadRecipe
from infra.launch.base import Launcher
from infra.launch.profile import load as load_profile
from infra.launch.site import Site
from infra.storage.cache import Cache
from infra.storage.store import Store, open_objects


class Settings(BaseSettings):
    """The environment. Every field is LUTHIER_<NAME>; credentials stay with their own providers (AWS_*, MLFLOW_*)."""

    model_config = SettingsConfigDict(env_prefix="LUTHIER_", frozen=True, extra="ignore")

    home: Path = Path(".luthier")
    store: str = ""
    cache_bytes: int = Field(default=50 * 2**30, ge=0)
    launcher: Literal["", "local", "slurm", "hosts", "kubernetes"] = ""
    profile: str = ""
    store_deadline_s: float = Field(default=180.0, gt=0)
    silence_s: float = Field(default=600.0, gt=0)
    stage_deadline_s: float = Field(default=0.0, ge=0)
    database: str = ""
    notify_url: str = ""
    shared_root: str = ""
    shards: str = ""

    @field_validator("shards")
    @classmethod
    def _reaches_the_store(cls, shards: str, others: ValidationInfo) -> str:
        if shards and not shards.startswith(("tcp://", "tls://")):
            raise ValueError("it is the address of a Dask scheduler, as tcp://host:8786 or tls://host:8786")
        if shards and {"home", "store", "shared_root"} <= others.data.keys():
            folder, shared = local_store(others.data["store"], others.data["home"]), others.data["shared_root"]
            if folder is not None and not (shared and folder.is_relative_to(Path(shared).absolute())):
                raise ValueError(
                    f"other nodes cannot see the store {folder}: set LUTHIER_STORE to s3://…, or LUTHIER_SHARED_ROOT to the folder that all nodes mount under one path, and that the store lies in"
                )
        return shards

    def platform(self) -> "Platform":
        """The store (probed once a process), the launcher and the folders that these settings mean."""
        return _platform(
            self.root(),
            self.home.absolute(),
            self.cache_bytes,
            self.store_deadline_s,
            self.silence_s,
            self.stage_deadline_s,
            self.tracking_uri(),
            self.site(),
        )

    def site(self) -> Site:
        """The launchers that the site's profile and these settings mean."""
        if self.launcher == "local":
            return Site(shared_root=self.shared_root)
        profile = load_profile(self.profile)
        if self.launcher:
            profile = profile.model_copy(update={"launcher": self.launcher})
        return Site(profile, self.shared_root or profile.shared_root)

    def root(self) -> str:
        """The store's address: the one that is set, else a folder below the home."""
        return self.store or f"file://{self.home.absolute()}/store"

    def tracking_uri(self) -> str:
        """MLflow's address: the one that is set, else a sqlite file below the home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home.absolute()}/mlflow.db"


@dataclass(frozen=True)
class Platform:
    """What a stage needs of the world. `home` holds work, cache and logs of this node; nothing trusts it."""

    store: Store
    launcher: Launcher
    cache: Cache
    home: Path
    tracking_uri: str
    silence_s: float
    stage_deadline_s: float = 0.0

    def environment(self) -> dict[str, str]:
        """The variables with which a process on this machine finds the same platform again."""
        return {
            "LUTHIER_HOME": str(self.home),
            "LUTHIER_STORE": self.store.uri,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
        }


def local_store(store: str, home: Path) -> Path | None:
    """The folder of a store that is one, by its address and the home; None for a bucket."""
    if store and not store.startswith("file://"):
        return None
    return Path(store.removeprefix("file://")) if store else home.absolute() / "store"


def load(store: str = "") -> Settings:
    """The settings of this process, with another store where one is given; BadRecipe names the variable that is wrong."""
    try:
        return Settings(store=store) if store else Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRecipe(
            "a setting in the environment is wrong",
            place="LUTHIER_" + "_".join(str(part) for part in first["loc"]).upper(),
            value=first.get("input"),
            remedy=first["msg"].removeprefix("Value error, "),
        ) from None


@lru_cache(maxsize=8)
def _platform(
    store_uri: str,
    home: Path,
    cache_bytes: int,
    deadline_s: float,
    silence_s: float,
    stage_deadline_s: float,
    tracking_uri: str,
    site: Site,
) -> Platform:
    store = Store(open_objects(store_uri, deadline_s))
    store.probe()
    return Platform(
        store=store,
        launcher=site,
        cache=Cache(home / "cache", cache_bytes),
        home=home,
        tracking_uri=tracking_uri,
        silence_s=silence_s,
        stage_deadline_s=stage_deadline_s,
    )
