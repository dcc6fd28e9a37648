import numpy as np
import pytest

from fedsim.fleet.availability import LocalTime, local_offsets_s

HOUR_S = 3600.0
BOTH = np.array([0, 1])


def test_night_begins_and_ends_by_local_time() -> None:
    local = LocalTime(np.array([0.0, 6 * HOUR_S]), 22 * HOUR_S, 8 * HOUR_S)
    nights = {hour: local.is_night(BOTH, hour * HOUR_S).tolist() for hour in (0, 5, 6, 15, 16, 21, 22, 24, 24 * 9 + 23)}
    assert nights == {
        0: [True, False],
        5: [True, False],
        6: [False, False],
        15: [False, False],
        16: [False, True],
        21: [False, True],
        22: [True, True],
        24: [True, False],
        24 * 9 + 23: [True, True],
    }


@pytest.mark.parametrize(("night_s", "expected"), [(0.0, False), (86_400.0, True)])
def test_eternal_day_and_eternal_night(night_s: float, expected: bool) -> None:
    local = LocalTime(np.zeros(1), 5.0, night_s)
    assert all(local.is_night(np.array([0]), time)[0] == expected for time in (0.0, 4.0, 5.0, 6.0, 1e6))


@pytest.mark.parametrize("night_s", [-1.0, 86_401.0, np.nan])
def test_impossible_nights(night_s: float) -> None:
    with pytest.raises(ValueError, match="it lasts from 0 to 86400 s"):
        LocalTime(np.zeros(1), 0.0, night_s)


def test_zones_are_met_exactly_and_drawn_by_the_seed() -> None:
    zones = {-8 * HOUR_S: 1.0, 5.5 * HOUR_S: 3.0}
    offsets = local_offsets_s(zones, 1000, 10 * HOUR_S, seed=3)
    assert np.unique(offsets, return_counts=True)[0].tolist() == [2 * HOUR_S, 15.5 * HOUR_S]
    assert np.unique(offsets, return_counts=True)[1].tolist() == [250, 750]
    assert np.array_equal(offsets, local_offsets_s(dict(reversed(zones.items())), 1000, 10 * HOUR_S, seed=3))
    assert not np.array_equal(offsets, local_offsets_s(zones, 1000, 10 * HOUR_S, seed=4))


def test_local_time_of_day_stays_within_a_day() -> None:
    assert local_offsets_s({-8 * HOUR_S: 1.0}, 1, 0.0, 0).tolist() == [16 * HOUR_S]
    assert local_offsets_s({14 * HOUR_S: 1.0}, 1, 23 * HOUR_S, 0).tolist() == [13 * HOUR_S]
