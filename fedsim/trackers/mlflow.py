"""MLflow: a database in the run's folder, or the server that $MLFLOW_TRACKING_URI names."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedsim.trackers.base import Row, Status, Subject, Value

PACKAGES = ("mlflow", "sqlalchemy", "alembic")
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_MOST_NUMBERS, _MOST_PARAMETERS = 1000, 100
"""What MLflow takes at a time."""


def where(folder: Path) -> str:
    """Where the numbers of a run go, in words."""
    uri = _uri(folder)
    local = f"; look at it: mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite:") else ""
    return f"{uri}{local}"


class MLflow:
    """A run of MLflow for each method, in an experiment with the scenario's name."""

    def __init__(self, subject: Subject, known: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a simulation tells nobody that it runs
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = _uri(subject.folder)
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._client: Any = MlflowClient(tracking_uri=uri)
        if known is not None:
            self.id = known
            self._client.update_run(known, "RUNNING")
            return
        found = self._client.get_experiment_by_name(subject.scenario)
        place = str((subject.folder / "mlflow" / "artifacts").resolve()) if uri.startswith("sqlite:") else None
        experiment = found.experiment_id if found else self._client.create_experiment(subject.scenario, place)
        tags = {"fedsim.run": str(subject.folder.resolve()), "fedsim.method": subject.method}
        self.id = self._client.create_run(experiment, run_name=subject.name, tags=tags).info.run_id
        every = [Param(name, str(value)) for name, value in subject.parameters.items()]
        for begin in range(0, len(every), _MOST_PARAMETERS):
            self._client.log_batch(self.id, params=every[begin : begin + _MOST_PARAMETERS])

    def log(self, rows: Sequence[Row]) -> None:
        """A metric for each number, at its round."""
        from mlflow.entities import Metric

        every = [Metric(k, v, round(one.wall_s * 1000), one.round) for one in rows for k, v in one.all.items()]
        for begin in range(0, len(every), _MOST_NUMBERS):
            self._client.log_batch(self.id, metrics=every[begin : begin + _MOST_NUMBERS])

    def end(self, status: Status, summary: Mapping[str, Value]) -> None:
        """The summary's numbers as metrics, its hashes as tags."""
        from mlflow.entities import Metric, RunTag

        now_ms, final = round(time.time() * 1000), {k: v for k, v in summary.items() if k.startswith("final/")}
        numbers = [Metric(k, float(v), now_ms, 0) for k, v in final.items() if isinstance(v, int | float)]
        tags = [RunTag(f"fedsim.{k.removeprefix('final/')}", v) for k, v in final.items() if isinstance(v, str)]
        self._client.log_batch(self.id, metrics=numbers, tags=tags)
        self._client.set_terminated(self.id, _STATUS[status])


def open_session(subject: Subject, known: str | None) -> MLflow:
    """Begin to report, or go on."""
    return MLflow(subject, known)


def _uri(folder: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow' / 'mlflow.db').resolve()}"
