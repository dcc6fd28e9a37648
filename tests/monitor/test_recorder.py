from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsim.monitor import recorder
from fedsim.monitor.recorder import Recorder
from fedsim.monitor.series import COMMON, SERIES, Series
from fedsim.trace.reader import Run, read_run
from tests import runs

METHODS = {"fedavg": {}, "split": runs.METHODS["split"]}

Recorded = dict[tuple[str, ...], list[float]]


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Recorded]]:
    """A run with late and useless trips, and what was recorded of it: every value by series and labels."""
    found: dict[str, Recorded] = {series.name: defaultdict(list) for series in SERIES}

    def recording(series: Series) -> Callable[[float, dict[str, str]], None]:
        def record(value: float, tags: dict[str, str]) -> None:
            assert tuple(tags) == (*COMMON, *series.labels)
            assert all(isinstance(label, str) for label in tags.values())
            assert series.kind != "counter" or value > 0
            found[series.name][tuple(tags.values())].append(value)

        return record

    out = tmp_path_factory.mktemp("recorded") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "_recording", recording)
        runs.run(runs.small(METHODS), world, out, observer=Recorder("run-1", "small"))
    return read_run(out), found


def total(recorded: Recorded, *labels: str) -> float:
    """Sum over all series that have these labels."""
    return sum(sum(values) for tags, values in recorded.items() if set(labels) <= set(tags))


def test_counters_add_up_to_the_trace(made: tuple[Run, dict[str, Recorded]]) -> None:
    run, found = made
    for (method, phase), rows in run.rounds.groupby(["method", "phase"]):
        where = str(method), str(phase)
        for direction, column in (("up", "upload_bytes"), ("down", "download_bytes")):
            assert total(found["fedsim_traffic_bytes"], *where, direction) == rows[column].sum()
            wasted = total(found["fedsim_traffic_bytes"], *where, direction, "wasted")
            assert wasted == rows[f"wasted_{column}"].sum()
        for pass_ in ("forward", "backward"):
            assert total(found["fedsim_flops"], *where, pass_) == rows[f"flops_{pass_}"].sum()
            assert total(found["fedsim_flops"], *where, pass_, "wasted") == rows[f"wasted_flops_{pass_}"].sum()
        assert total(found["fedsim_device_seconds"], *where) == pytest.approx(rows["device_seconds"].sum())
        assert total(found["fedsim_energy_joules"], *where) == pytest.approx(rows["energy_j"].sum())
        assert total(found["fedsim_trips"], *where) == rows["cohort"].sum()
    assert total(found["fedsim_traffic_bytes"], "wasted") > 0


def test_trips_are_counted_by_device_and_outcome(made: tuple[Run, dict[str, Recorded]]) -> None:
    run, found = made
    counts = run.trips.groupby(["method", "phase", "device", "outcome"], observed=True).size()
    recorded = {tags[2:]: sum(values) for tags, values in found["fedsim_trips"].items()}
    assert recorded == dict(counts.items())
    assert len({outcome for *_, outcome in recorded}) > 1


def test_gauges_say_what_the_trace_says(made: tuple[Run, dict[str, Recorded]]) -> None:
    run, found = made
    for method, rows in run.rounds.groupby("method"):
        ends = {phase: own["end_s"].tolist() for phase, own in rows.groupby("phase")}
        for phase, own in rows.groupby("phase"):
            tags = ("run-1", "small", str(method), str(phase))
            assert found["fedsim_round"][tags] == (own["round"] + 1).tolist()
            assert found["fedsim_rounds"][tags] == [5] * len(own)
            assert found["fedsim_simulated_seconds"][tags] == ends[phase]
            assert found["fedsim_round_simulated_seconds"][tags] == (own["end_s"] - own["start_s"]).tolist()
            assert found["fedsim_loss"][tags] == own["loss"].dropna().tolist()
            assert found["fedsim_hosts"][tags] == [1] * len(own)
            busy = found["fedsim_host_utilisation"][tags]
            assert all(0 < value <= 1 for value in busy), busy
            assert all(value > 0 for value in found["fedsim_round_seconds"][tags])
            assert all(value > 0 for value in found["fedsim_published_bytes"][tags])
    tested = run.evals[run.evals["round"] >= 0].groupby(["method", "phase", "metric"])["value"].apply(list)
    assert {tags[2:]: values for tags, values in found["fedsim_quality"].items()} == dict(tested.items())


def test_what_is_spent_on_the_server_before_a_phase_counts(made: tuple[Run, dict[str, Recorded]]) -> None:
    run, found = made
    for method, totals in run.summary["methods"].items():
        spent = total(found["fedsim_server_flops"], method)
        assert spent == totals["server_flops_forward"] + totals["server_flops_backward"]
