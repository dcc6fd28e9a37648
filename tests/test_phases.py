"""Whose optimizer state a copied layer takes."""

import pytest

from fedsim.data.objective import Objective
from fedsim.methods.progfed import ProgFed
from fedsim.methods.stacking import Stacking
from fedsim.model.architecture import Architecture, Head
from fedsim.phases import Phase
from fedsim.scenario.participation import Participation
from fedsim.scenario.phases import FurtherPretrain
from fedsim.training.recipe import Recipe
from fedsim.wire import Wire

BERT = Architecture("bert", 100, 16, 12, 2, 32, 24, 0.1)
FIRST = 10
"""Rounds of the method before this phase."""


def phase(method: Stacking | ProgFed, rounds: int = 40) -> Phase:
    stages = tuple(method.stages("further_pretrain", rounds, BERT, Head("mlm")))
    config = FurtherPretrain(rounds=rounds, participation=Participation(clients_per_round=1))
    return Phase(
        "further_pretrain",
        Objective("mlm"),
        Head("mlm"),
        tuple(range(12)),
        (),
        None,
        config,
        1e-3,
        Recipe(),
        Wire(),
        stages,
        (),
        FIRST,
    )


def test_copied_layers_take_the_state_of_where_they_come_from() -> None:
    kept = phase(Stacking(optimizer_state="keep", client_optimizer="keep"))
    assert kept.copied(0, 10) == {}
    assert kept.copied(1, 14) == {3: 0, 4: 1, 5: 2}
    assert kept.copied(1, 15) == {}
    assert kept.copied(2, 21) == {6: 0, 7: 1, 8: 2, 9: 3, 10: 4, 11: 5}
    # left with three layers, and taken up with twelve: each is a copy of one of the three
    assert kept.copied(2, 12) == {i: i % 3 for i in range(3, 12)}
    assert kept.copied(2, 22) == {}


def test_rounds_outside_of_the_phase() -> None:
    with pytest.raises(IndexError):
        phase(ProgFed()).stage_at(FIRST + 40)
