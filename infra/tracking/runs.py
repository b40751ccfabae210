"""Curves in MLflow, written while a run goes on; a server that is away costs curves for a while, never the run."""

import logging
import math
import os
import time

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from infra.tracking import database
from infra.tracking.pages import room

log = logging.getLogger(__name__)

EXPERIMENT = "luthier"
RETRY_S = 30.0


class Curve:
    """One MLflow run, found again by its tag, so that every attempt of a training draws on the same curve.

    Its `params` are those of the first attempt, its `tags` those of the last.
    """

    def __init__(self, tracking_uri: str, key: str, params: dict[str, str], tags: dict[str, str] | None = None) -> None:
        # A training must not wait minutes for a page nobody may be looking at.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._uri, self._key, self._params, self._tags = tracking_uri, key, params, tags or {}
        self._client: MlflowClient | None = None
        self._waiting: list[Metric] = []
        self._not_before = 0.0
        self.run_id = ""

    @property
    def missed(self) -> int:
        """Figures that could not be delivered so far."""
        return len(self._waiting)

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Send figures of a step, or keep them until the server answers again."""
        now = int(time.time() * 1000)
        self._waiting += [Metric(name, value, now, step) for name, value in figures.items() if math.isfinite(value)]
        if time.monotonic() >= self._not_before:
            self.flush()

    def flush(self) -> None:
        """Send everything that waits."""
        try:
            client = self._connected()
            while self._waiting:
                client.log_batch(self.run_id, metrics=self._waiting[:500])
                del self._waiting[:500]
        except MlflowException as error:
            self._not_before = time.monotonic() + RETRY_S
            log.warning("MLflow at %s: %s; %d figures wait", self._uri, str(error)[:200], len(self._waiting))

    def close(self, status: str) -> None:
        """Send the rest and mark the run FINISHED or FAILED."""
        self.flush()
        if self.missed == 0 and self._client is not None:
            try:
                self._client.set_terminated(self.run_id, status)
            except MlflowException as error:
                log.warning("MLflow at %s: the run stays open: %s", self._uri, str(error)[:200])

    def _connected(self) -> MlflowClient:
        if self._client is None:
            database.ensure(self._uri)
            client = MlflowClient(self._uri)
            found = client.get_experiment_by_name(EXPERIMENT)
            experiment = (
                found.experiment_id
                if found
                else client.create_experiment(EXPERIMENT, artifact_location=room(self._uri))
            )
            known = client.search_runs([experiment], f"tags.`luthier.training_key` = '{self._key}'", max_results=1)
            if known:
                self.run_id = known[0].info.run_id
                client.update_run(self.run_id, status="RUNNING")
            else:
                run = client.create_run(
                    experiment, tags={"luthier.training_key": self._key, "mlflow.runName": f"train-{self._key[:8]}"}
                )
                self.run_id = run.info.run_id
                for name, value in self._params.items():
                    client.log_param(self.run_id, name, value[:500])
            for name, value in self._tags.items():
                client.set_tag(self.run_id, name, value)
            self._client = client
        return self._client
