"""Progressive stacking's depths, copies and rounds."""

from typing import Any

import pytest

from fedsim.methods.base import Fill
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.stacking import Stacking, default_depths
from fedsim.model.architecture import Architecture, Head
from fedsim.scenario.phases import Phases

BERT = Architecture("bert", 100, 16, 12, 2, 32, 24, 0.1)


def test_three_six_twelve() -> None:
    first, second, last = Stacking().stages("further_pretrain", 400, BERT, Head("mlm"))
    assert [stage.rounds for stage in (first, second, last)] == [50, 70, 280]  # thousands of steps, in the script
    assert [stage.plans[0].layers.depth for stage in (first, second, last)] == [3, 6, 12]
    assert first.fills == ()
    assert second.fills == tuple(Fill(f"layer.{i + 3}", f"layer.{i}") for i in range(3))
    assert last.fills == tuple(Fill(f"layer.{i + 6}", f"layer.{i}") for i in range(6))
    for stage in (first, second, last):
        (plan,) = stage.plans
        assert stage.head is None  # embeddings and head stay
        assert plan.train_layers == tuple(range(plan.layers.depth))
        assert plan.train_embeddings
        assert plan.train_head
    assert (first.tested, second.tested, last.tested) == (tuple(range(3)), tuple(range(6)), None)
    assert list(Stacking().stages("finetune", 5, BERT, Head("linear", 2))) == list(
        FedAvg().stages("finetune", 5, BERT, Head("linear", 2))
    )


def test_policies_at_growth() -> None:
    stages = Stacking().stages("further_pretrain", 40, BERT, Head("mlm"))
    assert [(s.reset_server, s.continues) for s in stages] == [(False, False), (True, False), (True, False)]
    kept = Stacking(optimizer_state="keep", client_optimizer="keep", reset_server_optimizer=False)
    stages = kept.stages("further_pretrain", 40, BERT, Head("mlm"))
    assert [(s.reset_server, s.continues) for s in stages] == [(False, False), (False, True), (False, True)]


def test_other_depths() -> None:
    assert [default_depths(layers) for layers in (12, 6, 4, 7)] == [(3, 6, 12), (3, 6), (1, 2, 4), (7,)]
    first, last = Stacking(depths=(4, 12), stage_rounds=(3, 7)).stages("further_pretrain", 10, BERT, Head("mlm"))
    assert (first.rounds, last.rounds) == (3, 7)
    assert [fill.source for fill in last.fills] == [f"layer.{i % 4}" for i in range(4, 12)]
    first, last = Stacking(depths=(6, 12)).stages("further_pretrain", 10, BERT, Head("mlm"))
    assert (first.rounds, last.rounds) == (3, 7)


@pytest.mark.parametrize(
    ("options", "layers", "says"),
    [
        ({"depths": [3, 6]}, 12, "depths: must end with all 12 layers of the global model, given 6"),
        ({}, 7, "depths: has one stage, in which nothing grows: 7 layers cannot be halved"),
        ({"depths": [1, 2, 4, 8]}, 8, "stage_rounds: is required for 4 stages"),
        ({}, 8, "depths: asks for 3 stages, phases.further_pretrain has 2 rounds"),
        ({"stage_rounds": [1, 1]}, 8, "stage_rounds: lists 2 stages, there are 3"),
        ({"stage_rounds": [1, 1, 1]}, 8, "stage_rounds: adds up to 3 rounds, phases.further_pretrain has 2"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], layers: int, says: str) -> None:
    phases = Phases.model_validate({"further_pretrain": {"rounds": 2, "participation": {"clients_per_round": 1}}})
    (problem,) = Stacking.model_validate(options).schedule_problems(phases, layers)
    assert f"{'.'.join(map(str, problem.key))}: {problem.message}" == says


def test_there_must_be_a_phase_to_grow_in() -> None:
    phases = Phases.model_validate({"finetune": {"rounds": 2, "participation": {"clients_per_round": 1}}})
    (problem,) = Stacking().schedule_problems(phases, 12)
    assert problem.message == "grows in phases.further_pretrain, which this scenario does not have"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depths": []}, "at least 1 item"),
        ({"depths": [4, 6, 12]}, "each must be a multiple of the one before, and larger; given 4, 6, 12"),
        ({"depths": [4, 4]}, "each must be a multiple of the one before, and larger; given 4, 4"),
        ({"client_optimizer": "keep"}, "keep goes with optimizer_state: keep"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stacking.model_validate(options)
