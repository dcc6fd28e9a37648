from fedsim.observe.observer import RoundReport
from fedsim.scenario.schema import Scenario
from fedsim.totals import Totals
from fedsim.trackers.base import LONGEST, flat_summary, parameters, row
from tests.observe.test_lines import REPORT
from tests.runs import small


def test_a_row_has_what_was_spent_so_far_and_the_round_s_own_numbers() -> None:
    totals = Totals(upload_bytes=7, flops_forward=10, flops_backward=20, wasted_flops_backward=5, energy_j=1.5)
    outcomes = {("phone", "completed"): 3, ("board", "completed"): 2, ("board", "late"): 1}
    quality = {"finetune/accuracy": 0.5}
    found = row(RoundReport(**{**vars(REPORT), "totals": totals, "outcomes": outcomes, "quality": quality}), 12.0)
    assert (found.round, found.wall_s, dict(found.quality)) == (REPORT.round - 1, 12.0, quality)
    wanted = {
        "so_far/upload_bytes": 7.0,
        "so_far/flops": 30.0,
        "wasted_so_far/flops": 5.0,
        "so_far/energy_j": 1.5,
        "so_far/simulated_s": REPORT.simulated_s,
        "trips/completed": 5.0,
        "trips/late": 1.0,
        "trips/dropped": 0.0,
        "finetune/train_loss": REPORT.loss,
    }
    assert {name: found.numbers[name] for name in wanted} == wanted
    assert found.all == {**found.numbers, **quality}


def test_parameters_are_flat_and_of_one_method() -> None:
    raw = small({"fedavg": {}, "mine": {"kind": "fedbt", "pool": "needed"}})
    scenario = Scenario.model_validate(raw).model_dump(mode="json")
    found = parameters(scenario, "mine")
    assert (found["method.name"], found["method.kind"], found["method.pool"]) == ("mine", "fedbt", "needed")
    assert (found["seed"], found["phases.finetune.rounds"]) == (3, 2)
    assert found["phases.finetune.local.optimizer.learning_rate"] == 0.01
    assert not any(name.startswith(("methods.", "outputs.")) for name in found)
    assert all(isinstance(value, str | int | float | bool) for value in found.values())
    scenario["summary"] = "x" * 2000
    short = parameters(scenario, "mine")["summary"]
    assert isinstance(short, str)
    assert len(short) <= LONGEST
    assert short.endswith("(2,000 characters)")


def test_a_summary_calls_metrics_as_the_rounds_do() -> None:
    found = flat_summary(
        {"quality": {"finetune/accuracy": 0.5}, "rounds": 7, "weights_sha256": None, "trace_sha256": "a"}
    )
    assert found == {"finetune/accuracy": 0.5, "final/rounds": 7, "final/trace_sha256": "a"}
