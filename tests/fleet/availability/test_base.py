import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.work import IntArray
from fedsim.fleet.availability import Always, Intervals, Recorded, next_s
from fedsim.fleet.availability.base import FloatArray, span_s

DEVICES = np.array([0, 7, 7])


def test_always() -> None:
    assert Always().at(DEVICES, 5.0).tolist() == [True] * 3
    assert Always().until(DEVICES, 5.0).tolist() == [np.inf] * 3
    assert Always().after(DEVICES, 5.0).tolist() == [0.0] * 3
    assert next_s(Always(), 10, 5.0) == 5.0


def opening(*starts_s: float) -> Recorded:
    """Devices that are there from these times to 100 s, in days of 1000 s."""
    return Recorded(Intervals.of([([(start, 100.0)], 1000.0) for start in starts_s]), np.arange(len(starts_s)))


def test_the_next_time_that_enough_devices_have_come() -> None:
    doors = opening(30.0, 10.0, 20.0)
    assert [next_s(doors, 3, 5.0, wanted) for wanted in (1, 2, 3, 4)] == [10.0, 20.0, 30.0, np.inf]
    assert next_s(doors, 3, 15.0) == 15.0
    assert next_s(doors, 3, 200.0, 2) == 1020.0
    assert next_s(doors, 1, 15.0) == 30.0, "only device 0 belongs to a fleet of one"


def test_a_large_fleet_is_asked_in_pieces_until_enough_are_there() -> None:
    asked: list[int] = []

    class Watched(Always):
        def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
            asked.append(len(devices))
            return super().after(devices, now_s)

    assert next_s(Watched(), 10_000_000, 3.0, 100) == 3.0
    assert asked == [65_536]


def test_nobody_ever() -> None:
    never = Recorded(Intervals.of([([], 10.0)]), np.zeros(5, np.int64))
    assert next_s(never, 5, 0.0) == np.inf


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_span_added_to_its_beginning_is_never_short(now_s: float, wait_s: float) -> None:
    then_s = now_s + wait_s
    span = float(span_s(np.array([now_s]), np.array([then_s]))[0])
    assert now_s + span >= then_s
    assert span == pytest.approx(then_s - now_s, rel=1e-12, abs=1e-300)
