from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fedsim.trackers import mlflow
from tests.trackers.subjects import ROWS, SUMMARY, subject


@pytest.mark.slow
def test_metrics_parameters_and_the_end_are_in_the_database_of_the_run(tmp_path: Path) -> None:
    session = mlflow.open_session(subject(tmp_path), None)
    session.log(ROWS[:2])
    session.end("stopped", {})
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    assert client.get_run(session.id).info.status == "KILLED"
    again = mlflow.open_session(subject(tmp_path), session.id)
    assert client.get_run(session.id).info.status == "RUNNING"
    again.log(ROWS[2:])
    again.end("finished", SUMMARY)
    (experiment,) = (found for found in client.search_experiments() if found.name == "small")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (session.id, "FINISHED")
    assert run.info.run_name == f"{tmp_path.name}/fedavg"
    assert run.data.params == {"seed": "3", "phases.finetune.rounds": "4", "name": "small"}
    accuracy = client.get_metric_history(session.id, "finetune/accuracy")
    assert [(m.step, m.value) for m in accuracy] == [(1, 0.25), (3, 0.75)]
    uploads = client.get_metric_history(session.id, "so_far/upload_bytes")
    assert [(m.step, m.value, m.timestamp) for m in uploads] == [(n, 5e6 * n, 1_000_000 + 1000 * n) for n in range(4)]
    assert run.data.metrics["final/upload_bytes"] == 15_000_000
    assert run.data.tags["fedsim.weights_sha256"] == "abc"
    assert "finetune/macro_f1" not in run.data.metrics


def test_the_server_that_the_environment_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mlflow.where(tmp_path).startswith(f"sqlite:///{tmp_path}/mlflow/mlflow.db; look at it: mlflow ui")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker.example")
    assert mlflow.where(tmp_path) == "http://tracker.example"
