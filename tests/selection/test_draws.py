from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.work import IntArray
from fedsim.rng import stream
from fedsim.selection import Weights, uniform, weighted
from fedsim.selection.draws import BoolArray, first_able


class Door:
    """Lets some clients in, and counts who was asked."""

    def __init__(self, able: BoolArray) -> None:
        self.open, self.asked = able, 0

    def __call__(self, clients: IntArray) -> BoolArray:
        self.asked += len(clients)
        return self.open[clients]


def frequencies(draws: list[IntArray], outcomes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.bincount(np.concatenate(draws), minlength=outcomes) / len(draws)


def test_without_conditions_it_is_the_generators_own_draw() -> None:
    assert np.array_equal(uniform(stream(1, "x"), 1000, 20), stream(1, "x").choice(1000, 20, replace=False))


@pytest.mark.parametrize("share", [0.9, 0.3, 0.01, 0.0])
def test_only_able_ones_each_once_and_as_many_as_there_are(share: float) -> None:
    able = stream(2, "able").random(3000) < share
    picked = uniform(stream(1, "x"), 3000, 50, Door(able))
    assert len(np.unique(picked)) == len(picked) == min(50, able.sum())
    assert able[picked].all()


def test_everybody_able_is_found_where_more_are_wanted() -> None:
    able = np.array([True, False, True, True, False])
    assert sorted(uniform(stream(1, "x"), 5, 10, Door(able))) == [0, 2, 3]
    assert sorted(weighted(stream(1, "x"), Weights.of(np.array([1, 1, 0, 3, 1])), 10, Door(able))) == [0, 3]


def test_able_clients_are_equally_likely_and_so_is_every_order() -> None:
    able = np.array([True, True, False, True, True, False])
    draws = [uniform(stream(i, "x"), 6, 2, Door(able)) for i in range(6000)]
    expected = dict.fromkeys(permutations([0, 1, 3, 4], 2), 1 / 12)
    for pair, chance in expected.items():
        found = np.mean([tuple(draw.tolist()) == pair for draw in draws])
        assert found == pytest.approx(chance, abs=4 * np.sqrt(chance / 6000))


def test_ten_million_clients_are_not_put_in_order() -> None:
    class Most:
        asked = 0

        def __call__(self, clients: IntArray) -> BoolArray:
            self.asked += len(clients)
            fifth: BoolArray = clients % 5 == 0
            return fifth

    door = Most()
    picked = uniform(stream(3, "x"), 10_000_000, 200, door)
    assert len(np.unique(picked)) == 200
    assert not (picked % 5).any()
    assert door.asked < 4000


def test_few_able_ones_among_many_are_found() -> None:
    able = np.zeros(500_000, np.bool_)
    able[[7, 499_999]] = True
    door = Door(able)
    assert sorted(uniform(stream(1, "x"), 500_000, 2, door)) == [7, 499_999]
    assert door.asked <= 500_000


def test_weights_are_met_draw_by_draw() -> None:
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    draws = [weighted(stream(i, "w"), Weights.of(weights), 2) for i in range(6000)]
    for a, b in permutations([0, 1, 3], 2):
        chance = weights[a] / 8 * weights[b] / (8 - weights[a])
        found = np.mean([tuple(draw.tolist()) == (a, b) for draw in draws])
        assert found == pytest.approx(chance, abs=4 * np.sqrt(chance / 6000))


def test_the_tail_follows_the_same_law() -> None:
    weights = np.array([1.0, 3.0, 0.0, 1000.0])
    order = [Weights.of(weights).order(stream(i, "w"), np.array([0, 1, 2])) for i in range(4000)]
    assert all(sorted(found) == [0, 1] for found in order)
    assert np.mean([found[0] == 1 for found in order]) == pytest.approx(0.75, abs=0.03)


def test_heavy_weights_leave_room_for_light_ones() -> None:
    weights = np.ones(1000)
    weights[5] = 1e12
    picked = weighted(stream(1, "w"), Weights.of(weights), 900)
    assert picked[0] == 5
    assert len(np.unique(picked)) == 900


def test_weighted_draws_from_many_look_at_few() -> None:
    weights = Weights.of(np.arange(1_000_000))
    door = Door(np.arange(1_000_000) % 2 == 0)
    picked = weighted(stream(1, "w"), weights, 100, door)
    assert door.asked < 1000
    assert picked.mean() == pytest.approx(666_667, rel=0.12)


@given(st.integers(0, 50), st.integers(0, 30), st.integers(0, 5))
def test_always_distinct_able_and_reproducible(clients: int, wanted: int, seed: int) -> None:
    able = np.arange(clients) % 3 != 1
    once, again = (uniform(stream(seed, "x"), clients, wanted, Door(able)) if clients else None for _ in range(2))
    if once is None or again is None:
        return
    assert np.array_equal(once, again)
    assert len(once) == len(set(once.tolist())) == min(wanted, able.sum())
    assert able[once].all()


def test_the_first_able_ones_of_a_list() -> None:
    door = Door(np.arange(100_000) % 10 == 9)
    found = first_able(np.arange(100_000)[::-1].copy(), 3, door)
    assert found.tolist() == [99_999, 99_989, 99_979]
    assert door.asked == 256
    assert first_able(np.arange(5), 3, door).tolist() == []


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_impossible_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be numbers from 0 on"):
        Weights.of(np.array(weights))
