import numpy as np
import pytest

from fedsim.fleet.availability import Always, Intervals, Recorded
from fedsim.rng import stream
from fedsim.selection import Weights, in_turn, power_of_choice, replayed, staying

EQUAL = Weights.of(np.ones(10))


def test_in_turn_goes_round() -> None:
    first = in_turn(5, 3, -1)
    second = in_turn(5, 3, int(first[-1]))
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [3, 4, 0])
    assert in_turn(5, 9, 2).tolist() == [3, 4, 0, 1, 2]


def test_in_turn_passes_over_those_who_are_not_able() -> None:
    able = np.array([True, False, True, False, True])
    assert in_turn(5, 2, 0, lambda some: able[some]).tolist() == [2, 4]
    assert in_turn(5, 2, 3, lambda some: able[some]).tolist() == [4, 0]
    assert in_turn(5, 9, 3, lambda some: able[some]).tolist() == [4, 0, 2]


def test_in_turn_everybody_serves_equally_often() -> None:
    last, served = -1, np.zeros(70, int)
    for _ in range(100):
        picked = in_turn(70, 7, last)
        served[picked] += 1
        last = int(picked[-1])
    assert served.tolist() == [10] * 70


def test_in_turn_asks_a_large_fleet_only_as_far_as_needed() -> None:
    asked: list[int] = []

    def able(some: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        asked.append(len(some))
        return some >= 100

    assert in_turn(10_000_000, 3, 97, able).tolist() == [100, 101, 102]
    assert sum(asked) == 256


def test_power_of_choice_takes_the_highest_losses_of_its_candidates() -> None:
    loss = np.arange(10.0)
    assert power_of_choice(stream(1, "x"), EQUAL, 3, 10, loss).tolist() == [9, 8, 7]
    for seed in range(20):
        drawn = power_of_choice(stream(seed, "x"), EQUAL, 4, 4, loss)
        picked = power_of_choice(stream(seed, "x"), EQUAL, 2, 4, loss)
        assert picked.tolist() == sorted(drawn.tolist(), reverse=True)[:2]


def test_power_of_choice_candidates_come_by_their_weights() -> None:
    weights = Weights.of(np.array([1.0] * 9 + [91.0]))
    picked = [power_of_choice(stream(i, "x"), weights, 1, 1, np.zeros(10))[0] for i in range(2000)]
    assert np.mean(np.array(picked) == 9) == pytest.approx(0.91, abs=0.03)


def test_unknown_losses_go_first_and_among_equals_the_draw_decides() -> None:
    loss = np.array([5.0, np.nan, 7.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    picked = power_of_choice(stream(1, "x"), EQUAL, 4, 10, loss)
    assert set(picked[:2].tolist()) == {1, 3}
    assert picked[2:].tolist() == [2, 0]
    firsts = {int(power_of_choice(stream(i, "x"), EQUAL, 1, 10, np.zeros(10))[0]) for i in range(200)}
    assert firsts == set(range(10))


def test_power_of_choice_needs_enough_candidates() -> None:
    with pytest.raises(ValueError, match="2 candidates, 3 are wanted"):
        power_of_choice(stream(1, "x"), EQUAL, 3, 2, np.zeros(10))


def test_replayed_cohorts_lose_those_who_are_not_there() -> None:
    lists = [[3, 1], [4, 2, 0]]
    assert replayed(lists, 1).tolist() == [4, 2, 0]
    assert replayed(lists, 1, lambda some: some > 1).tolist() == [4, 2]


def test_those_who_stay_long_enough() -> None:
    doors = Recorded(Intervals.of([([(0, 10)], 100), ([(5, 40)], 100), ([(30, 50)], 100)]), np.arange(3))
    three = np.arange(3)
    assert staying(doors, 6.0, None)(three).tolist() == [True, True, False]
    assert staying(doors, 6.0, lambda some: np.full(len(some), 4.0))(three).tolist() == [True, True, False]
    assert staying(doors, 6.0, lambda some: np.full(len(some), 5.0))(three).tolist() == [False, True, False]
    assert staying(doors, 6.0, lambda some: np.array([1.0, 40.0])[some])(three).tolist() == [True, False, False]
    assert staying(Always(), 6.0, lambda some: np.full(len(some), 1e12))(three).tolist() == [True] * 3


def test_trip_times_are_only_worked_out_for_those_who_are_there() -> None:
    doors = Recorded(Intervals.of([([(0, 10)], 100), ([], 100)]), np.array([1, 0, 1]))
    asked: list[list[int]] = []

    def needed(some: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        asked.append(some.tolist())
        return np.zeros(len(some))

    assert staying(doors, 1.0, needed)(np.arange(3)).tolist() == [False, True, False]
    assert asked == [[1]]
