import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.report.units import clock, duration, flops, joules, megabytes, metric, share


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.000"), (41_234, "0.041"), (999_999, "1.000"), (10_140_000, "10.1"), (26_136_400_000, "26,136")],
)
def test_megabytes(count: int, text: str) -> None:
    assert megabytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 FLOP"),
        (7, "7 FLOP"),
        (999, "999 FLOP"),
        (1000, "1.00 kFLOP"),
        (999_499, "999 kFLOP"),
        (999_500, "1.00 MFLOP"),
        (1.36e9, "1.36 GFLOP"),
        (99_960_000, "100 MFLOP"),
        (52.4e12, "52.4 TFLOP"),
        (3.2e20, "320 EFLOP"),
        (3.2e22, "32,000 EFLOP"),
    ],
)
def test_flops(count: float, text: str) -> None:
    assert flops(count) == text


@given(st.floats(1.0, 1e20))
def test_a_metric_number_is_right_to_three_digits(count: float) -> None:
    number, unit = metric(count, "B").split()
    size = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "EB": 1e18}[unit]
    assert float(number) * size == pytest.approx(count, rel=5.1e-3)
    assert float(number) < 1000


def test_energy_below_a_joule() -> None:
    assert joules(0.25) == "0.25 J"
    assert joules(46_200) == "46.2 kJ"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (119.9, "119.9 s"),
        (120, "2.0 min"),
        (7200, "2.0 h"),
        (172_800, "2.0 days"),
        (1e9, "11,574.1 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0:00"), (67, "1:07"), (3600, "1:00:00"), (90_061, "1 day 1 h"), (200_000, "2 days 7 h")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_share_of_nothing_is_not_told() -> None:
    assert share(1, 4) == "25.0 %"
    assert share(44, 4) == "1,100.0 %"
    assert share(0, 0) == ""
