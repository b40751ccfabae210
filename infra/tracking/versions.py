"""Model versions in MLflow, reconciled: whoever registers the same content from the same place gets the same version."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from infra.errors import Refused, Unreachable
from infra.tracking import database
from infra.tracking.pages import room

CONTENT = "luthier.content_sha256"
INCUMBENT = "luthier.incumbent_sha256"  # content of the version that the verdict compares with; empty: with none
_REFUSALS = ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED", "BAD_REQUEST", "INVALID_STATE")
_EXISTS, _MISSING = ErrorCode.Name(RESOURCE_ALREADY_EXISTS), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


class Versions:
    """A tracking server's registry. Every call ends within a minute: Unreachable or Refused where it went wrong."""

    def __init__(self, tracking_uri: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._uri = tracking_uri
        with self._answers():
            database.ensure(tracking_uri)
            self._client = MlflowClient(tracking_uri, registry_uri=tracking_uri)

    def ensure(self, name: str, source: str, tags: Mapping[str, str], run_id: str | None, description: str) -> int:
        """The number of the version with this content at this source, made where there is none; its tags and
        description are brought up to date.

        Racers may both create one, and so may a request whose reply was lost: the lowest number stays, and later ones
        to which no alias leads are deleted by whoever sees them.
        """
        with self._answers():
            self._ensure_model(name)
            found = self._find(name, source, tags[CONTENT])
            if not found:
                self._client.create_model_version(name, source, run_id=run_id, tags=dict(tags), description=description)
                found = self._find(name, source, tags[CONTENT])
            if found[1:]:
                self._delete(name, {str(one.version) for one in found[1:]})
            self._update(found[0], tags, description)
            return int(found[0].version)

    def point(self, name: str, alias: str, version: int) -> None:
        """Move an alias: the commit point of a registration."""
        with self._answers():
            try:
                self._client.set_registered_model_alias(name, alias, str(version))
            except MlflowException:
                # MLflow looks, then inserts: of two that set a new alias at once one is refused, and now finds the row.
                self._client.set_registered_model_alias(name, alias, str(version))

    def mark(self, name: str, tags: Mapping[str, str], version: int | None = None) -> None:
        """Set tags of a version, or of the model itself."""
        with self._answers():
            for key, value in tags.items():
                if version is None:
                    self._client.set_registered_model_tag(name, key, value)
                else:
                    self._client.set_model_version_tag(name, str(version), key, value)

    def ensure_run(self, run_id: str | None, experiment: str, content: str) -> str:
        """The run that figures belong to: the given one where the server still has it, else one found by content, or
        a new one."""
        with self._answers():
            if run_id and self._has_run(run_id):
                return run_id
            at = self._ensure_experiment(experiment)
            runs = self._client.search_runs([at], f"tags.`{CONTENT}` = '{content}'", max_results=1)
            if runs:
                return str(runs[0].info.run_id)
            run = self._client.create_run(at, tags={CONTENT: content, "mlflow.runName": f"register-{content[:8]}"})
            self._client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    def record(self, run_id: str, figures: Mapping[str, float], at_ms: int) -> None:
        """Log those figures that the run does not show yet, so that a repeated registration adds nothing."""
        with self._answers():
            shown = self._client.get_run(run_id).data.metrics
            new = [Metric(name, value, at_ms, 0) for name, value in figures.items() if shown.get(name) != value]
            if new:
                self._client.log_batch(run_id, metrics=new)

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise

    def _ensure_experiment(self, name: str) -> str:
        try:
            return str(self._client.create_experiment(name, artifact_location=room(self._uri)))
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise
            return str(self._client.get_experiment_by_name(name).experiment_id)

    def _find(self, name: str, source: str, content: str) -> list[ModelVersion]:
        # The same content at another source is another version: the older place may be gone.
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{CONTENT}` = '{content}'")
        return sorted((one for one in found if one.source == source), key=lambda one: int(one.version))

    def retire(self, name: str, numbers: Iterable[int]) -> set[int]:
        """Delete versions to which no alias leads now; those that are gone."""
        with self._answers():
            return {int(number) for number in self._delete(name, {str(number) for number in numbers})}

    def _delete(self, name: str, numbers: set[str]) -> set[str]:
        aliased = {str(number) for number in dict(self._client.get_registered_model(name).aliases).values()}
        for number in numbers - aliased:
            try:
                self._client.delete_model_version(name, number)
            except MlflowException as error:  # another was quicker
                if error.error_code != _MISSING:
                    raise
        return numbers - aliased

    def _update(self, version: ModelVersion, tags: Mapping[str, str], description: str) -> None:
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(version.name, str(version.version), key, value)
        if version.description != description:
            self._client.update_model_version(version.name, str(version.version), description)

    def _has_run(self, run_id: str) -> bool:
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            return False

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            code = error.error_code if isinstance(error, RestException) or error.error_code in _REFUSALS else ""
            if code in _REFUSALS:
                raise Refused(
                    "MLflow refuses the registration",
                    place=self._uri,
                    value=str(error),
                    remedy="a tracking server takes no file:// sources: use LUTHIER_STORE=s3://…; else check its rights",
                ) from error
            raise Unreachable(
                "MLflow does not answer as it should",
                place=self._uri,
                value=str(error),
                remedy="check MLFLOW_TRACKING_URI and that the server runs",
            ) from error
