import numpy as np
import pytest

from fedsim import rng
from fedsim.fleet.availability import AllOf, Always, Intervals, LocalTime, Markov, Recorded, Stretch

DEVICE = np.array([0])


def hours(start_h: float, end_h: float, period_h: float = 24) -> Recorded:
    """One device, there between these hours of every period."""
    return Recorded(Intervals.of([([(start_h, end_h)], period_h)]), DEVICE)


def test_all_conditions_must_hold() -> None:
    both = AllOf([hours(8, 18), hours(12, 20)])
    assert [bool(both.at(DEVICE, t)[0]) for t in (0.0, 8.0, 12.0, 17.9, 18.0, 36.0)] == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]
    assert [float(both.until(DEVICE, t)[0]) for t in (10.0, 12.0, 17.5, 37.0)] == [0.0, 6.0, 0.5, 5.0]
    assert [float(both.after(DEVICE, t)[0]) for t in (0.0, 10.0, 12.0, 18.0, 47.0)] == [12.0, 2.0, 0.0, 18.0, 13.0]


def test_conditions_with_different_rhythms_meet_later() -> None:
    both = AllOf([hours(0, 1, 3), hours(0, 1, 4)])
    assert both.after(DEVICE, 1.0).tolist() == [11.0], "at 12; at 9 the second one has just ended"


def test_conditions_that_never_meet() -> None:
    assert AllOf([hours(0, 8), hours(9, 20)]).after(DEVICE, 3.0).tolist() == [np.inf]
    never = Recorded(Intervals.of([([], 24)]), DEVICE)
    assert AllOf([hours(0, 8), never]).after(DEVICE, 10.0).tolist() == [np.inf]
    assert AllOf([hours(0, 1, 3), hours(0, 1, 4)], most_changes=6).after(DEVICE, 1.0).tolist() == [11.0]
    assert AllOf([hours(0, 1, 3), hours(0, 1, 4)], most_changes=5).after(DEVICE, 1.0).tolist() == [np.inf]


def test_one_condition_is_itself_and_always_changes_nothing() -> None:
    alone = hours(3, 5)
    for t in (0.0, 3.0, 4.0, 23.0):
        for question in ("at", "until", "after"):
            expected = getattr(alone, question)(DEVICE, t)
            assert np.array_equal(getattr(AllOf([alone]), question)(DEVICE, t), expected)
            assert np.array_equal(getattr(AllOf([Always(), alone]), question)(DEVICE, t), expected)


def test_there_must_be_a_condition() -> None:
    with pytest.raises(ValueError, match="at least one condition"):
        AllOf([])


def test_shares_of_independent_conditions_multiply_and_the_future_comes_true() -> None:
    local = LocalTime(np.zeros(5000), 79_200.0, 28_800.0)
    night, day = Stretch(10_800, 3600), Stretch(900, 8100)
    charging = Markov(rng.field(1, "charging"), local, day, night, np.ones(5000))
    wifi = Markov(rng.field(1, "wifi"), local, Stretch(3600, 3600), night, np.ones(5000))
    both, devices, now_s = AllOf([charging, wifi]), np.arange(5000), 36_000.0
    there = both.at(devices, now_s)
    assert there.mean() == pytest.approx(0.1 * 0.5, abs=0.012)
    change = now_s + both.until(devices, now_s) + both.after(devices, now_s)
    assert np.array_equal(both.at(devices, change), ~there)
