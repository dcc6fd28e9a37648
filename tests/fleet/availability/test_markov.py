import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim import rng
from fedsim.fleet.availability import LocalTime, Markov, Stretch
from fedsim.fleet.availability.base import FloatArray

HOUR_S = 3600.0
HABIT, DAY, NIGHT = Stretch(600.0, 1800.0), Stretch(600.0, 5400.0), Stretch(7200.0, 2400.0)


def steady(devices: int = 20_000, habit: Stretch = HABIT, factor: FloatArray | None = None, seed: int = 1) -> Markov:
    """The same habits day and night."""
    local = LocalTime(np.zeros(devices))
    return Markov(rng.field(seed, "x"), local, habit, habit, np.ones(devices) if factor is None else factor)


def daily(offsets_s: FloatArray, day: Stretch = DAY, night: Stretch = NIGHT, seed: int = 1) -> Markov:
    """Nights from 22 to 6 o'clock."""
    local = LocalTime(offsets_s, 22 * HOUR_S, 8 * HOUR_S)
    return Markov(rng.field(seed, "x"), local, day, night, np.ones(len(offsets_s)))


def distance(sample: FloatArray, mean: float) -> float:
    """Kolmogorov's distance from the exponential distribution with this mean."""
    expected = 1 - np.exp(-np.sort(sample) / mean)
    ranks = np.arange(len(sample) + 1) / len(sample)
    return float(max(np.abs(ranks[1:] - expected).max(), np.abs(expected - ranks[:-1]).max()))


# --- the law of the process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("now_s", [0.0, 1e5, 3e7])
def test_the_share_that_is_there_is_the_steady_one_at_any_time(now_s: float) -> None:
    share = steady().at(np.arange(20_000), now_s).mean()
    assert HABIT.share == 0.25
    assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 20_000))


@pytest.mark.parametrize("lag_s", [60.0, 450.0, 1800.0])
def test_memory_fades_as_the_two_state_process_says(lag_s: float) -> None:
    devices = np.arange(20_000)
    before, after = steady().at(devices, 1e4), steady().at(devices, 1e4 + lag_s)
    fade = np.exp(-lag_s * (1 / 600 + 1 / 1800))
    assert after[before].mean() == pytest.approx(0.25 + 0.75 * fade, abs=0.03)
    assert after[~before].mean() == pytest.approx(0.25 - 0.25 * fade, abs=0.015)


def test_waits_from_any_time_and_whole_stretches_are_exponential() -> None:
    process, devices = steady(), np.arange(20_000)
    until, after = process.until(devices, 5000.0), process.after(devices, 5000.0)
    there = until > 0
    assert np.array_equal(there, process.at(devices, 5000.0))
    assert np.array_equal(there, after == 0)
    bound = 1.95 / np.sqrt(20_000 / 4)  # one seed in a thousand is beyond it
    assert distance(until[there], 600.0) < bound
    assert distance(after[~there], 1800.0) < bound
    came = 5000.0 + after[~there]
    assert distance(process.until(devices[~there], came), 600.0) < bound
    left = 5000.0 + until[there]
    assert distance(process.after(devices[there], left), 1800.0) < bound


def test_devices_are_independent() -> None:
    states = np.array([steady(1000).at(np.arange(1000), 7200.0 * i) for i in range(200)]).astype(float)
    pairs = np.corrcoef(states.T[:200])
    off = pairs[~np.eye(200, dtype=bool)]
    assert abs(off.mean()) < 0.005
    assert off.std() == pytest.approx(1 / np.sqrt(200), rel=0.1)


def test_a_factor_lengthens_the_stretches_of_being_there() -> None:
    process = steady(20_000, factor=np.repeat([1.0, 9.0], 10_000))
    there = process.at(np.arange(20_000), 1e6)
    assert there[:10_000].mean() == pytest.approx(0.25, abs=0.02)
    assert there[10_000:].mean() == pytest.approx(9 * 600 / (9 * 600 + 1800), abs=0.02)
    stays = process.until(np.arange(10_000, 20_000), 1e6)
    assert stays[stays > 0].mean() == pytest.approx(5400, rel=0.04)


def expected_share(hours: float) -> float:
    """The share at a local hour from 0 to 24, by the differential equation of the daily process, to the end of time."""
    share, clock = 0.5, -10 * 24.0
    while clock < hours:
        habit = NIGHT if clock % 24 < 6 or clock % 24 >= 22 else DAY
        step = min(0.25, hours - clock) * HOUR_S
        share = habit.share + (share - habit.share) * np.exp(-step * (1 / habit.available_s + 1 / habit.away_s))
        clock += 0.25
    return float(share)


@pytest.mark.parametrize("hours", [0.0, 6.5, 7.0, 12.0, 22.25, 23.0])
def test_days_and_nights_follow_the_differential_equation(hours: float) -> None:
    devices = np.arange(20_000)
    process = daily(np.zeros(20_000))
    for days in (0, 40):
        share = process.at(devices, (24 * days + hours) * HOUR_S).mean()
        assert share == pytest.approx(expected_share(hours), abs=0.015)


def test_night_moves_with_the_time_zone() -> None:
    process = daily(np.repeat([0.0, 9 * HOUR_S], 10_000))
    shares = [process.at(np.arange(20_000), hours * HOUR_S).reshape(2, -1).mean(axis=1) for hours in (2, 17)]
    assert shares[0] == pytest.approx([expected_share(2), expected_share(11)], abs=0.02)
    assert shares[1] == pytest.approx([expected_share(17), expected_share(2)], abs=0.02)


# --- one answer to one question -----------------------------------------------------------------------------


def test_the_same_bits_in_any_order_for_any_company() -> None:
    offsets = np.linspace(0, 86_399, 3000)
    devices, times = np.arange(3000), np.array([3e6, 0.0, 1e5])
    first = {float(t): daily(offsets).until(devices, t) for t in times}
    process = daily(offsets)
    some = np.array([2999, 5, 5, 1200])
    for t in times[::-1]:
        assert np.array_equal(process.until(some, t), first[float(t)][some])
    mixed = process.until(some, np.array([0.0, 3e6, 0.0, 1e5]))
    assert mixed.tolist() == [first[0.0][2999], first[3e6][5], first[0.0][5], first[1e5][1200]]
    assert not np.array_equal(daily(offsets, seed=2).until(devices, 0.0), first[0.0])


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 2**31), st.floats(0, 1e8), st.floats(1, 1e6), st.floats(1, 1e6))
def test_what_is_said_of_the_future_comes_true(seed: int, now_s: float, available_s: float, away_s: float) -> None:
    offsets = np.linspace(0, 86_399, 50)
    process = daily(offsets, Stretch(available_s, away_s), Stretch(away_s, available_s), seed)
    devices = np.arange(50)
    there, until, after = process.at(devices, now_s), process.until(devices, now_s), process.after(devices, now_s)
    assert np.array_equal(until > 0, there)
    assert np.array_equal(after > 0, ~there)
    change = now_s + until + after
    assert np.array_equal(process.at(devices, change), ~there)
    for share in (0.0, 0.3, 0.999):
        assert np.array_equal(process.at(devices, now_s + share * (until + after)), there)


def test_a_played_process_is_the_asked_one() -> None:
    process, end_s = daily(np.zeros(6)), 2e5
    questions = np.random.default_rng(0).uniform(0, end_s, 500)
    for device in range(6):
        own, now_s, stretches = np.array([device]), 0.0, []
        while now_s < end_s:
            stay = float(process.until(own, now_s)[0])
            stretches.append((now_s, now_s + stay))
            now_s += stay
            now_s += float(process.after(own, now_s)[0])
        played = np.array([any(start <= t < end for start, end in stretches) for t in questions])
        assert np.array_equal(process.at(np.full(500, device), questions), played)


def test_a_million_devices_cost_what_their_columns_cost() -> None:
    process = daily(np.zeros(1_000_000))
    some = np.array([0, 999_999])
    assert process.at(some, 5.0).shape == (2,)
    assert sum(value.nbytes for value in (process._come.factor, process._leave.factor)) == 16_000_000


@pytest.mark.parametrize("stretch", [(0.0, 1.0), (1.0, -1.0), (np.inf, 1.0), (1.0, np.nan)])
def test_impossible_stretches(stretch: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        Stretch(*stretch)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf])
def test_impossible_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="factors must be above 0"):
        steady(2, factor=np.array([1.0, factor]))
