"""Which layers are frozen in which round, and that they are neither trained nor sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.methods.fedavg import FedAvg
from fedsim.methods.freezing import Freezing
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import Plan
from fedsim.scenario.phases import Phases

HEAD = Head("linear", 2)


def plans(rounds: int, layers: int, **options: Any) -> list[Plan]:
    """The plan of each round."""
    bert = Architecture("bert", 100, 16, layers, 2, 32, 24, 0.1)
    stages = Freezing.model_validate({"finetune": options}).stages("finetune", rounds, bert, HEAD)
    # optimizers go on for what is still trained
    assert [stage.continues for stage in stages] == [False, *[True] * (len(stages) - 1)]
    return [stage.plans[0] for stage in stages for _ in range(stage.rounds)]


def trained(rounds: int, layers: int, **options: Any) -> list[tuple[bool, int]]:
    """Whether the embeddings are trained, and how many layers, in each round."""
    return [(plan.train_embeddings, len(plan.train_layers)) for plan in plans(rounds, layers, **options)]


def test_by_list() -> None:
    found = trained(6, 4, embeddings_round=1, layer_rounds=[2, 4, 4])
    assert found == [(True, 4), (False, 4), (False, 3), (False, 3), (False, 1), (False, 1)]
    assert trained(3, 2, layer_rounds=[1]) == [(True, 2), (False, 1), (False, 1)]
    assert trained(3, 2, embeddings_round=0) == [(False, 2)] * 3
    assert trained(2, 2, layer_rounds=[0, 1]) == [(False, 1), (False, 0)]


def test_evenly_from_the_middle() -> None:
    assert trained(8, 4) == [(True, 4)] * 4 + [(False, 4), (False, 3), (False, 2), (False, 1)]
    assert trained(4, 4, start=0.0) == [(False, 4), (False, 3), (False, 2), (False, 1)]
    assert trained(1, 4) == [(True, 4)]


@given(st.integers(1, 30), st.integers(1, 12), st.floats(0.0, 0.99))
def test_frozen_from_below_and_never_the_top(rounds: int, layers: int, start: float) -> None:
    found = plans(rounds, layers, start=start)
    assert len(found) == rounds
    for index, plan in enumerate(found):
        assert plan.train_head
        assert plan.train_layers == tuple(range(layers - len(plan.train_layers), layers))
        assert len(plan.train_layers) >= 1
        assert not plan.train_embeddings or len(plan.train_layers) == layers
        if index:
            assert set(plan.trained) <= set(found[index - 1].trained)
        assert plan.sent(plan.layers.slots()) == tuple(
            name if isinstance(name, str) else f"layer.{name}" for name in plan.trained
        )


def test_without_a_frozen_layer_it_is_fedavg() -> None:
    bert = Architecture("bert", 100, 16, 4, 2, 32, 24, 0.1)
    unfrozen = Freezing().stages("finetune", 1, bert, HEAD)
    assert list(unfrozen) == list(FedAvg().stages("finetune", 1, bert, HEAD))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer_rounds": [1, 2, 3]}, "finetune.layer_rounds: lists 3 layers, the global model has 2"),
        ({"layer_rounds": [1, 5]}, "finetune.layer_rounds: names round 5, phases.finetune has rounds 0 to 4"),
        ({"embeddings_round": 9}, "finetune.embeddings_round: names round 9, phases.finetune has rounds 0 to 4"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    phases = Phases.model_validate({"finetune": {"rounds": 5, "participation": {"clients_per_round": 1}}})
    (problem,) = Freezing.model_validate({"finetune": options}).schedule_problems(phases, 2)
    assert f"{'.'.join(map(str, problem.key))}: {problem.message}" == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer_rounds": []}, "at least 1 item"),
        ({"layer_rounds": [3, 2]}, "must not descend: layers freeze from below; given 3, 2"),
        ({"embeddings_round": 3, "layer_rounds": [2]}, "is 3, but layer 0 above them freezes in round 2"),
        ({"start": 0.2, "layer_rounds": [2]}, "is not used where embeddings_round or layer_rounds are given"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Freezing.model_validate({"finetune": options})


def test_what_holds_in_several_tasks_is_said_once() -> None:
    task = {"participation": {"clients_per_round": 1}}
    phases = Phases.model_validate({"finetune": [{"rounds": 4, **task}, {"rounds": 2, **task}]})
    method = Freezing.model_validate({"finetune": {"layer_rounds": [0, 1, 3]}})
    assert [problem.message for problem in method.schedule_problems(phases, 2)] == [
        "lists 3 layers, the global model has 2",
        "names round 3, phases.finetune.1 has rounds 0 to 1",
    ]
