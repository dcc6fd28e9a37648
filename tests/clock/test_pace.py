from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.clock.pace import Pace

FLOPS = st.integers(0, 10**12)
RATE = st.floats(0.05, 1.0)


def pace(speed: float = 100.0, backward: float = 1.0, cool_s: float = np.inf, hot: float = 1.0) -> Pace:
    return Pace(*(np.array([value]) for value in (speed, backward, cool_s, hot)))


def seconds(one: Pace, forward: int, backward: int) -> float:
    return float(one.seconds(np.array([forward]), np.array([backward]))[0])


def done(one: Pace, forward: int, backward: int, spent_s: float) -> tuple[int, int]:
    first, second = one.done(np.array([forward]), np.array([backward]), np.array([spent_s]))
    return int(first[0]), int(second[0])


def test_a_device_without_extras_divides_flops_by_speed() -> None:
    assert seconds(pace(), 300, 700) == 10.0
    assert done(pace(), 300, 700, 5.0) == (150, 350)


def test_a_slow_backward_pass() -> None:
    half = pace(backward=0.5)
    assert seconds(half, 300, 700) == 17.0
    assert done(half, 300, 700, 8.5) == (150, 350)


def test_a_hot_device() -> None:
    warm = pace(cool_s=4.0, hot=0.25)
    assert seconds(warm, 400, 0) == 4.0
    assert seconds(warm, 500, 0) == 8.0
    assert seconds(warm, 400, 600) == 4 + 6 * 4
    assert done(warm, 400, 600, 4.0) == (160, 240)
    assert done(warm, 400, 600, 16.0) == (280, 420)
    assert done(warm, 400, 600, 28.0) == (400, 600)


def test_hot_from_the_start_and_never_hot() -> None:
    assert seconds(pace(cool_s=0.0, hot=0.5), 1000, 0) == 20.0
    assert seconds(pace(cool_s=np.inf, hot=0.5), 1000, 0) == 10.0


def test_both_together() -> None:
    assert seconds(pace(backward=0.5, cool_s=10.0, hot=0.5), 300, 700) == 10 + 7 * 2


def test_nothing_to_do_takes_no_time() -> None:
    assert seconds(pace(cool_s=0.0, hot=0.1), 0, 0) == 0.0
    assert done(pace(), 0, 0, 5.0) == (0, 0)


@given(FLOPS, FLOPS, RATE, st.floats(0, 1e6), RATE, st.floats(0, 1))
def test_what_is_done_takes_the_time_that_was_spent(
    forward: int, backward: int, slow: float, cool_s: float, hot: float, share: float
) -> None:
    one = pace(1e6, slow, cool_s, hot)
    needed_s = seconds(one, forward, backward)
    spent_s = share * needed_s
    first, second = done(one, forward, backward, spent_s)
    assert 0 <= first <= forward
    assert 0 <= second <= backward
    assert seconds(one, first, second) <= spent_s * (1 + 1e-9) + 1e-9
    # one more of each would have taken longer, up to what both must be rounded down by
    assert seconds(one, first + 1, second + 1) >= spent_s * (1 - 1e-9) - 1e-9
    assert done(one, forward, backward, needed_s) == (forward, backward)


@given(FLOPS, FLOPS, RATE, st.floats(0, 1e6), RATE)
def test_monotone(forward: int, backward: int, slow: float, cool_s: float, hot: float) -> None:
    base = seconds(pace(1e6, slow, cool_s, hot), forward, backward)
    assert seconds(pace(2e6, slow, cool_s, hot), forward, backward) <= base * (1 + 1e-12)
    assert seconds(pace(1e6, slow, cool_s + 10, hot), forward, backward) <= base * (1 + 1e-12)
    assert seconds(pace(1e6, slow, cool_s, min(1.0, 2 * hot)), forward, backward) <= base * (1 + 1e-12)
    assert seconds(pace(1e6, min(1.0, 2 * slow), cool_s, hot), forward, backward) <= base * (1 + 1e-12)
    assert seconds(pace(1e6, slow, cool_s, hot), forward + 1, backward) >= base


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 4), st.integers(0, 4), st.integers(0, 10**4))
def test_against_exact_fractions(forward: int, backward: int, slow: int, hot: int, cool_s: int) -> None:
    whole = (Fraction(forward) + Fraction(backward) * 2**slow) / 1024
    expected = min(whole, Fraction(cool_s)) + max(whole - cool_s, Fraction(0)) * 2**hot
    found = seconds(pace(1024.0, 0.5**slow, float(cool_s), 0.5**hot), forward, backward)
    assert Fraction(found) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"speed": 0.0},
        {"speed": -1.0},
        {"speed": np.nan},
        {"backward": 0.0},
        {"hot": 0.0},
        {"cool_s": -1.0},
        {"cool_s": np.nan},
    ],
    ids=str,
)
def test_impossible_paces(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="speeds must be finite and above 0"):
        pace(**change)
