"""MLflow: its server, or a database in a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.contracts.tracker import TrackedRun, Tracker, Tracking
from segadmin.paths import sqlite_url
from segadmin.urls import mask_url

#: Settings of MLflow: by default it tries an unreachable server seven times, which delays the fit by minutes.
_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}


@dataclass(frozen=True)
class MlFlow(Tracker):
    """Runs for MLflow; by default in ``SEGADMIN_HOME/trackers/mlflow/mlflow.db``."""

    name: ClassVar[str] = "mlflow"
    requires: ClassVar[tuple[str, ...]] = ("mlflow",)
    brought_by: ClassVar[str] = "segadmin[mlflow]"
    uri: str = ""  #: of a server, a database or a folder; default: ``MLFLOW_TRACKING_URI``, else a file under home
    experiment: str = "segadmin"

    def start(self, run: TrackedRun) -> Tracking:
        """Begin a run in the experiment, which is created if it does not exist."""
        client, uri = self._client(run)
        from mlflow.entities import Param  # imported late: it reads its environment on import

        experiment = client.get_experiment_by_name(self.experiment)
        # A local database needs a folder for artifacts; none are written.
        artifacts = (run.folder / "artifacts").as_uri() if uri.startswith("sqlite:") else None
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(self.experiment, artifacts)
        created = client.create_run(experiment_id, run_name=run.name, tags={"segadmin.job": str(run.job_id)})
        params = [Param(name, value) for name, value in _flat(run.config)]
        client.log_batch(created.info.run_id, params=params)
        return _Run(client, created.info.run_id, uri, self.experiment)

    def add(self, run: TrackedRun, key: str, figures: Mapping[str, float]) -> None:
        """Add metrics to the run; it stays finished."""
        client, _ = self._client(run)
        client.log_batch(key, _metrics(figures, 0))

    def _client(self, run: TrackedRun) -> tuple[Any, str]:
        run.folder.mkdir(parents=True, exist_ok=True)
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(run.folder / "mlflow.db")
        for name, value in {**_ENVIRONMENT, "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
            os.environ.setdefault(name, value)
        if "://" not in uri or uri.startswith("file:"):
            # MLflow refuses folders by default; a folder that the user names is intended.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri), uri


class _Run(Tracking):
    def __init__(self, client: Any, run_id: str, uri: str, experiment: str) -> None:
        self._client, self.key = client, run_id
        self._last = 0
        self.where = f"experiment {experiment!r}, run {run_id}, of: mlflow ui --backend-store-uri {mask_url(uri)}"
        if uri.startswith("http"):
            self.where = f"experiment {experiment!r}, run {run_id}, at {mask_url(uri)}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._client.log_batch(self.key, _metrics(figures, step))
        self._last = step

    def finish(self, figures: Mapping[str, float]) -> None:
        self.log(self._last, {f"final/{name}": value for name, value in figures.items()})
        self._client.set_terminated(self.key)

    def abandon(self) -> None:
        self._client.set_terminated(self.key, status="FAILED")


def _metrics(figures: Mapping[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    moment = round(time.time() * 1000)
    return [Metric(name, value, moment, step) for name, value in figures.items()]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names such as ``backbone_options.epochs`` with their values as text."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
