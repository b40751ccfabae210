"""What MLflow knows of versions and trainings, read only: nothing is created by looking."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from infra.errors import Refused, Unreachable
from infra.frozen import Frozen
from infra.tracking.database import REGISTRATION
from infra.tracking.runs import EXPERIMENT
from infra.tracking.versions import CONTENT

_SPEC = re.compile(r"(?:models:/)?(?P<name>[\w.-]{1,100})(?:/(?P<number>\d{1,9})|@(?P<alias>[\w-]{1,100}))?", re.ASCII)
_PREFERRED = ("candidate", "champion")
_MOST = 1000


class Version(Frozen):
    """A registered version. `created_ms` is in milliseconds since 1970; `chosen` says why it is this one."""

    name: str
    number: int
    aliases: list[str]
    created_ms: int
    source: str
    run_id: str
    tags: dict[str, str]
    description: str
    chosen: str = ""

    @property
    def content(self) -> str:
        """The hash of the artifact that was registered; empty where others registered it."""
        return self.tags.get(CONTENT, "")

    @property
    def registration(self) -> str:
        """The key of the registry's artifact about it, or empty."""
        return self.tags.get(REGISTRATION, "")

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


class Training(Frozen):
    """A training's curve: its newest figures, and the parameters it was started with."""

    run_id: str
    name: str
    status: str
    started_ms: int
    key: str
    params: dict[str, str]
    figures: dict[str, float]


class Lookup:
    """A tracking server's registry and runs. Every call ends within a minute: Unreachable where it went wrong."""

    def __init__(self, tracking_uri: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self.uri = tracking_uri
        self._client: MlflowClient | None = None
        if not _is_missing_file(tracking_uri):
            with self._answers():
                self._client = MlflowClient(tracking_uri, registry_uri=tracking_uri)

    def versions(self, limit: int = _MOST, name: str | None = None) -> list[Version]:
        """The newest versions, of one model or of all."""
        if self._client is None:
            return []
        with self._answers():
            found = self._client.search_model_versions(
                f"name = '{name}'" if name else None, max_results=limit, order_by=["creation_timestamp DESC"]
            )
            aliases = {one: self._client.get_registered_model(one).aliases for one in {item.name for item in found}}
        return [_version(item, aliases[item.name]) for item in found]

    def every_version(self) -> list[Version]:
        """All versions of all models, however many: for those to whom one that is not told does not exist."""
        if self._client is None:
            return []
        found: list[ModelVersion] = []
        more: str | None = None
        with self._answers():
            while True:
                page = self._client.search_model_versions(max_results=_MOST, page_token=more)
                found += page
                more = page.token
                if not more:
                    break
            aliases = {one: self._client.get_registered_model(one).aliases for one in {item.name for item in found}}
        return [_version(item, aliases[item.name]) for item in found]

    def version(self, spec: str) -> Version:
        """The version that `tickets`, `tickets/3`, `tickets@candidate` or `models:/tickets/3` means.

        A bare name means its alias candidate, else champion, else the newest. Refused, with what there is, for others.
        """
        match = _SPEC.fullmatch(spec)
        known = self.versions(name=match["name"]) if match else []
        for one in known:
            if match and _is_meant(one, match["number"], match["alias"]):
                return one
        if match and known and not match["number"] and not match["alias"]:
            return self._by_preference(known)
        raise self.unknown(spec, known)

    def model_tags(self, name: str) -> dict[str, str]:
        """The tags of a registered model; none where there is no such model."""
        if self._client is None:
            return {}
        with self._answers():
            found = self._client.search_registered_models(f"name = '{name}'")
        return dict(found[0].tags) if found else {}

    def trainings(self, limit: int = _MOST) -> list[Training]:
        """The newest trainings, registered or not."""
        if self._client is None:
            return []
        with self._answers():
            at = self._client.get_experiment_by_name(EXPERIMENT)
            if at is None:
                return []
            order = ["attributes.start_time DESC"]
            found = self._client.search_runs([at.experiment_id], max_results=limit, order_by=order)
        return [_training(run) for run in found]

    def training(self, spec: str) -> Training | None:
        """The training with this run id, run name (train-a00fdf74) or beginning of its key."""
        given = spec.removeprefix("train-")
        if not re.fullmatch(r"[0-9a-f]{8,64}", given):
            return None
        return next((one for one in self.trainings() if one.run_id == given or one.key.startswith(given)), None)

    @staticmethod
    def _by_preference(known: list[Version]) -> Version:
        for alias in _PREFERRED:
            for one in known:
                if alias in one.aliases:
                    return one.model_copy(update={"chosen": f"its {alias}"})
        newest = max(known, key=lambda one: one.number)
        return newest.model_copy(update={"chosen": "its newest version; no alias points to another"})

    def unknown(self, spec: str, known: list[Version]) -> Refused:
        """The refusal that tells what there is instead."""
        there = known or self.versions(limit=20)
        told = [f"{one.name}/{one.number}" + "".join(f" @{alias}" for alias in one.aliases) for one in there[:10]]
        more = f" and {len(there) - 10} more" if len(there) > 10 else ""
        return Refused(
            "there is no such version",
            place=self.uri,
            value=spec,
            remedy=f"there is: {', '.join(told)}{more}; `luthier runs` tells more"
            if told
            else "nothing is registered here yet: `luthier run quickstart` makes a first version; another server is "
            "named by MLFLOW_TRACKING_URI",
        )

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            missing = error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
            kind = Refused if missing or _is_refusal(error) else Unreachable
            raise kind(
                "MLflow does not answer as it should",
                place=self.uri,
                value=error,
                remedy="check MLFLOW_TRACKING_URI, that the server runs, and MLFLOW_TRACKING_USERNAME and _PASSWORD",
            ) from error


def _is_missing_file(uri: str) -> bool:
    # MLflow would create the database, and take seconds for it.
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _is_refusal(error: MlflowException) -> bool:
    return isinstance(error, RestException) and error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED")


def _is_meant(one: Version, number: str | None, alias: str | None) -> bool:
    return (number is not None and one.number == int(number)) or (alias is not None and alias in one.aliases)


def _version(found: ModelVersion, aliases: dict[str, str]) -> Version:
    return Version(
        name=found.name,
        number=int(found.version),
        aliases=sorted(alias for alias, number in aliases.items() if str(number) == str(found.version)),
        created_ms=int(found.creation_timestamp or 0),
        source=found.source or "",
        run_id=found.run_id or "",
        tags=dict(found.tags),
        description=found.description or "",
    )


def _training(run: Run) -> Training:
    figures = {name: value for name, value in run.data.metrics.items() if value == value}  # noqa: PLR0124 - NaN
    return Training(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started_ms=int(run.info.start_time or 0),
        key=run.data.tags.get("luthier.training_key", ""),
        params=dict(run.data.params),
        figures=figures,
    )
