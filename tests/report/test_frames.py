import pandas as pd
import pytest

from fedsim.errors import UserError
from fedsim.report import frames

from . import runs

RUN = runs.run()
SENT = 1_000_000


def test_headlines_are_one_metric_a_phase_and_spans_go_before_accuracy() -> None:
    assert frames.headline(RUN) == [("further_pretrain", "mlm_loss"), ("finetune", "accuracy")]
    assert frames.headline(runs.run(evals=runs.spans())) == [("finetune", "span_f1")]


def test_a_run_without_evaluations_says_why() -> None:
    with pytest.raises(UserError, match="--price"):
        frames.headline(runs.run(evals=runs.no_evals()))


@pytest.mark.parametrize(
    ("cost", "spent"), [("upload", 6 * SENT), ("traffic", 18 * SENT), ("flops", 6000 * SENT), ("time", 200.0)]
)
def test_a_curve_sets_quality_beside_what_was_spent(cost: str, spent: float) -> None:
    points = frames.curve(RUN, "finetune", "accuracy", cost)
    first = points[points["method"] == "fedavg"].iloc[0]
    assert (first["round"], first["cost"], first["value"]) == (1, spent, 0.5)
    assert len(points) == 6


def test_trip_times_by_class_leave_out_the_central_machine() -> None:
    table = frames.trip_times(RUN, "device")
    assert list(table.index) == [("board", "fedavg"), ("board", "light"), ("phone", "fedavg"), ("phone", "light")]
    rows = table.to_dict("index")
    assert rows["phone", "fedavg"] == {
        **{"trips": 4, "late": 0.0, "median_s": 5.0, "download_s": 1.5, "compute_s": 2.5, "upload_s": 1.0},
        **dict.fromkeys(("exchange_s", "server_s", "wait_s"), 0.0),
    }
    board = rows["board", "fedavg"]
    assert (board["trips"], board["late"], board["median_s"]) == (2, 1.0, 6.0)
    assert [name for name, _ in frames.trip_times(RUN, "network").index] == ["3g", "3g", "wifi", "wifi"]


def test_waste_is_a_share_of_each_methods_own_spending() -> None:
    table = frames.wasted(RUN)
    assert table.to_dict("index")["fedavg"] == {"bytes": 0.25, "FLOPs": 0.1, "device time": 0.375}
    assert (table.loc[["light", "centralized"]] == 0.0).all(axis=None)


def test_peak_memory_is_that_of_the_most_demanding_trip() -> None:
    table = frames.peak_memory(RUN)
    assert list(table.index) == ["further_pretrain", "finetune"]
    assert table["fedavg"].tolist() == [8_000_000, 8_000_001]
    assert list(table.columns) == list(RUN.methods)


def test_what_it_took_to_be_as_good_as_the_weakest_method() -> None:
    accuracy = frames.to_reach(RUN, "finetune", "accuracy")
    assert accuracy["value"].to_dict() == {"fedavg": 0.8, "light": 0.6, "centralized": 0.6}
    assert accuracy["round"].to_dict() == {"fedavg": 2, "light": 2, "centralized": 1}
    assert accuracy["upload"].to_dict() == {"fedavg": 9 * SENT, "light": 3 * SENT, "centralized": 0}
    loss = frames.to_reach(RUN, "further_pretrain", "mlm_loss")
    assert loss["value"].to_dict() == {"fedavg": 4.0, "light": 5.0, "centralized": 3.0}
    assert loss["time"].tolist() == [100.0] * 3


def test_the_front_is_what_nothing_beats() -> None:
    table = pd.DataFrame(
        {"value": [0.5, 0.7, 0.6, 0.7, 0.9], "upload": [1.0, 2.0, 3.0, 4.0, 5.0]}, index=["a", "b", "c", "d", "e"]
    )
    assert frames.front(table, "upload", "accuracy").index.tolist() == ["a", "b", "e"]
    assert frames.front(table, "upload", "mlm_loss").index.tolist() == ["a"]


def test_final_is_the_last_evaluation_with_its_costs() -> None:
    run = runs.run()
    table = frames.final(run, *frames.headline(run)[-1])
    evals = run.evals[run.evals["metric"] == frames.headline(run)[-1][1]]
    for method, row in table.iterrows():
        last = evals[evals["method"] == method].iloc[-1]
        assert (row["value"], row["upload"], row["time"]) == (last["value"], last["upload_bytes"], last["simulated_s"])


def test_what_is_reached_without_a_model_goes_with_its_metric() -> None:
    run = runs.run()
    assert frames.baseline(run, "finetune", "accuracy") == 0.45
    assert frames.baseline(run, "further_pretrain", "mlm_loss") == 5.5
    assert frames.baseline(run, "finetune", "span_f1") is None
    assert frames.baseline(run, "finetune", "mlm_loss") is None
