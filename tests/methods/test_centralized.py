"""Training in one place: nothing is sent, nothing is cut off, and the data is that of the whole cohort."""

from pathlib import Path

import pytest

from fedsim.observe.observer import Silent
from fedsim.scenario.schema import Scenario
from fedsim.simulation import Request, simulate
from fedsim.trace.reader import Run, read_run

SCENARIO = {
    "name": "one-place",
    "data": {"corpus": {"kind": "declared", "samples_per_client": [3, 4, 5, 6], "tokens": 16}, "max_tokens": 16},
    "model": {"vocabulary": 50, "hidden": 16, "layers": 2, "heads": 2, "feed_forward": 32, "max_positions": 16},
    "fleet": {"clients": 4},
    "phases": {
        "finetune": {
            "rounds": 2,
            "participation": {"clients_per_round": 2, "over_selection": 2.0, "deadline_s": 1e-6},
            "local": {"batch_samples": 2},
        }
    },
    "methods": {"centralized": {"device": "pi_zero_2w"}, "fedavg": {}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("centralized") / "run"
    scenario = Scenario.model_validate(SCENARIO)
    simulate(Request(scenario, Path(), folder, price=True), None, Silent())
    return read_run(folder)


def test_the_machine_has_the_data_of_the_whole_cohort_and_sends_nothing(run: Run) -> None:
    trips = run.trips[run.trips["method"] == "centralized"]
    assert trips["client"].tolist() == [-1, -1]
    assert trips["samples"].tolist() == [18, 18]
    assert trips["batches"].tolist() == [2 + 2 + 3 + 3] * 2
    assert (trips[["upload_bytes", "download_bytes", "upload_s", "download_s"]] == 0).all(axis=None)
    assert trips["device"].unique().tolist() == ["pi_zero_2w"]


def test_the_deadline_is_for_devices(run: Run) -> None:
    outcomes = run.trips.astype({"method": str, "outcome": str}).groupby("method")["outcome"].unique()
    assert outcomes["centralized"].tolist() == ["completed"]
    assert outcomes["fedavg"].tolist() == ["late"]
    assert (run.trips.loc[run.trips["method"] == "centralized", "compute_s"] > 1e-6).all()
