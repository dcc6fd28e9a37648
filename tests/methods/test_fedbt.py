"""FedBT's schedules, local models and ablations, as the articles give them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.methods.base import Stage
from fedsim.methods.centralized import Centralized
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.fedbt import (
    FedBT,
    FedBTFinetuning,
    FedBTPretraining,
    cyclic_decreasing,
    equal_rounds,
    shallow_progressive,
)
from fedsim.model.architecture import Head
from fedsim.plan import Draw, Layers, full

from ..cost.oracles import BERT_BASE


def pretraining(rounds: int = 5, layers: int = 12, **options: object) -> list[tuple[int, Layers, tuple[int, ...]]]:
    method = FedBT(further_pretrain=FedBTPretraining.model_validate(options))
    return _plans(method.stages("further_pretrain", rounds, replace(BERT_BASE, layers=layers), Head("mlm")))


def finetuning(rounds: int = 10, layers: int = 12, **options: object) -> list[tuple[int, Layers, tuple[int, ...]]]:
    method = FedBT(finetune=FedBTFinetuning.model_validate(options))
    return _plans(method.stages("finetune", rounds, replace(BERT_BASE, layers=layers), Head("pooler", 2)))


def _plans(stages: Sequence[Stage]) -> list[tuple[int, Layers, tuple[int, ...]]]:
    return [(stage.rounds, plan.layers, plan.train_layers) for stage in stages for plan in stage.plans]


def test_shallow_progressive_schedule_of_the_article() -> None:
    assert shallow_progressive(5, 6) == [0, 0, 0, 1, 2]
    assert shallow_progressive(10, 6) == [0, 0, 0, 0, 0, 1, 1, 1, 2, 3]
    assert shallow_progressive(20, 6) == [0] * 10 + [1] * 5 + [2] * 3 + [3, 4]


def test_cyclic_decreasing_schedule_of_the_article() -> None:
    assert cyclic_decreasing(10, 12, 6) == [11, 10, 9, 8, 7, 6, 11, 10, 9, 8]


@given(st.integers(1, 200), st.integers(1, 24))
def test_schedules_climb_and_stay_inside_the_local_model(rounds: int, depth: int) -> None:
    for schedule in (shallow_progressive(rounds, depth), equal_rounds(rounds, depth)):
        assert len(schedule) == rounds
        assert schedule[0] == 0
        assert max(schedule) < depth
        assert all(a <= b for a, b in pairwise(schedule))


def test_pretraining_samples_deep_layers_above_the_trained_one() -> None:
    assert pretraining() == [
        (3, Layers((0,), Draw(5, 1, 12)), (0,)),
        (1, Layers((0, 1), Draw(4, 2, 12)), (1,)),
        (1, Layers((0, 1, 2), Draw(3, 3, 12)), (2,)),
    ]


def test_pretraining_ablations() -> None:
    assert pretraining(schedule="first_layer") == [(5, Layers((0,), Draw(5, 1, 12)), (0,))]
    assert [r for r, _, _ in pretraining(12, schedule="equal")] == [2] * 6
    assert pretraining(mapping="none")[0][1] == Layers((0, 1, 2, 3, 4, 5))
    averaged = pretraining(mapping="averaged")[0][1]
    assert averaged.slots() == (0, (1, 2, 3), (4, 5), (6, 7), (8, 9), (10, 11))
    assert pretraining(train="all")[0][2] == (0, 1, 2, 3, 4, 5)
    assert pretraining(local_layers=4)[0][1].depth == 4
    assert pretraining(local_layers=8)[0][1].depth == 8
    assert pretraining(local_layers=12)[0][1] == Layers(tuple(range(12)))


def test_finetuning_trains_a_growing_suffix() -> None:
    stages = finetuning()
    assert [len(trained) for _, _, trained in stages] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]
    assert np.mean([len(trained) for _, _, trained in stages]) == 3.1
    assert all(trained[-1] == 11 and local == Layers(tuple(range(12))) for _, local, trained in stages)


def test_finetuning_ablations() -> None:
    assert finetuning(schedule="half") == [(10, Layers(tuple(range(12))), (6, 7, 8, 9, 10, 11))]
    assert finetuning(schedule="last_layer") == [(10, Layers(tuple(range(12))), (11,))]
    assert [trained for _, _, trained in finetuning(6, grow=False)] == [(11,), (10,), (9,), (8,), (7,), (6,)]
    assert finetuning(train="all") == [(10, Layers(tuple(range(12))), tuple(range(12)))]
    _, local, trained = finetuning(local_layers=8)[2]
    assert (local, trained) == (Layers(draw=Draw(5, 0, 9), above=(9, 10, 11)), (5, 6, 7))
    _, local, _ = finetuning(local_layers=8, mapping="none")[2]
    assert local.slots() == (0, 1, 2, 3, 4, 9, 10, 11)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30))
def test_every_local_model_has_the_depth_asked_for_and_trains_real_layers(depth: int, cycle: int, rounds: int) -> None:
    for rounds_, local, trained in [
        *pretraining(rounds, local_layers=depth),
        *finetuning(rounds, local_layers=depth, cycle=cycle),
    ]:
        assert rounds_ >= 1
        drawn = [] if local.draw is None else local.draw.layers(np.full((1, local.draws), 0.5))[0].tolist()
        slots = local.slots(drawn)
        assert len(slots) == depth
        assert all(isinstance(slots[position], int) for position in trained)
        assert list(slots) == sorted(slots)


def test_fedavg_and_centralized_train_everything() -> None:
    for method in (FedAvg(), Centralized()):
        (stage,) = method.stages("finetune", 4, replace(BERT_BASE, layers=6), Head("pooler", 2))
        assert stage.rounds == 4
        assert stage.plans == (full(6),)
    assert Centralized.pooled
    assert not FedAvg.pooled
    with pytest.raises(ValueError, match="averages"):
        FedBT.model_validate({"further_pretrain": {"mapping": "averaged", "train": "all"}})
