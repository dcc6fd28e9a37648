import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.clock import OUTCOMES, Outcome, durations, energy
from tests.clock.cohorts import fleet, prices

amounts = st.integers(0, 2**49)
speeds = st.floats(1.0, 1e15)
latencies = st.floats(0.0, 10.0)
powers = st.floats(0.0, 1000.0)


def within_an_ulp(value: float, exact: Fraction) -> bool:
    return abs(Fraction(value) - exact) <= Fraction(math.ulp(value))


@given(amounts, amounts, amounts, amounts, speeds, speeds, speeds, latencies)
def test_durations_are_the_closed_forms_to_one_ulp(
    down: int, up: int, forward: int, backward: int, speed: float, downlink: float, uplink: float, latency: float
) -> None:
    spent = durations(prices(1, down, up, forward, backward), fleet([speed], downlink, uplink, latency))
    exact_down = Fraction(latency) + 8 * down / Fraction(downlink) if down else Fraction(0)
    exact_up = Fraction(latency) + 8 * up / Fraction(uplink) if up else Fraction(0)
    assert within_an_ulp(float(spent.download_s[0]), exact_down)
    assert within_an_ulp(float(spent.compute_s[0]), (forward + backward) / Fraction(speed))
    assert within_an_ulp(float(spent.upload_s[0]), exact_up)
    assert spent.total_s[0] == float(spent.download_s[0]) + float(spent.compute_s[0]) + float(spent.upload_s[0])


def test_by_hand() -> None:
    spent = durations(
        prices(2, download_bytes=[1000, 0], upload_bytes=[500, 2000], flops_forward=30, flops_backward=60),
        fleet([45.0, 10.0], downlink_bits_per_s=4000.0, uplink_bits_per_s=[1000.0, 8000.0], latency_s=0.25),
    )
    assert spent.download_s.tolist() == [2.25, 0.0]
    assert spent.compute_s.tolist() == [2.0, 9.0]
    assert spent.upload_s.tolist() == [4.25, 2.25]
    assert spent.total_s.tolist() == [8.5, 11.25]


def test_a_leg_without_bytes_has_no_latency() -> None:
    spent = durations(prices(1), fleet([1.0], latency_s=3.0))
    assert spent.total_s.tolist() == [0.0]


@given(st.integers(1, 2**49), speeds, latencies)
def test_doubling_the_bandwidth_halves_the_transfer(size: int, bandwidth: float, latency: float) -> None:
    price = prices(2, size, size)
    links = [bandwidth, 2 * bandwidth]
    without = durations(price, fleet([1.0, 1.0], links, links))
    assert without.download_s[0] == 2 * without.download_s[1]
    assert without.upload_s[0] == 2 * without.upload_s[1]
    spent = durations(price, fleet([1.0, 1.0], links, links, latency))
    assert spent.download_s.tolist() == (latency + without.download_s).tolist()


@given(amounts, amounts, amounts, amounts, speeds, speeds, speeds, latencies, st.integers(0, 7), st.floats(1.0, 8.0))
def test_a_trip_never_gets_shorter_with_more_work_or_a_worse_device(
    down: int,
    up: int,
    forward: int,
    backward: int,
    speed: float,
    downlink: float,
    uplink: float,
    latency: float,
    which: int,
    factor: float,
) -> None:
    before = [down, up, forward, backward, speed, downlink, uplink, latency]
    after = list(before)
    after[which] = int(before[which] * 2) if which < 4 else before[which] / factor if which < 7 else latency * factor

    def total(numbers: list[float]) -> float:
        work = [int(number) for number in numbers[:4]]
        return float(durations(prices(1, *work), fleet([numbers[4]], numbers[5], numbers[6], numbers[7])).total_s[0])

    assert total(after) >= total(before)


@given(amounts, amounts, speeds, speeds, st.floats(0.0, 1e9), powers, powers, latencies)
def test_energy_is_power_times_busy_time(
    down: int, up: int, downlink: float, uplink: float, compute_s: float, compute: float, radio: float, latency: float
) -> None:
    device = fleet([1.0], downlink, uplink, latency, compute_power_w=compute, radio_power_w=radio)
    joules = energy(np.array([down]), np.array([up]), np.array([compute_s]), device)[0]
    exact = Fraction(compute_s) * Fraction(compute) + Fraction(radio) * (
        8 * down / Fraction(downlink) + 8 * up / Fraction(uplink)
    )
    assert joules == pytest.approx(float(exact), rel=1e-15, abs=1e-300)


def test_outcomes_and_their_codes() -> None:
    assert [str(outcome) for outcome in OUTCOMES] == [
        "completed",
        "late",
        "dropped",
        "out_of_memory",
        "unused",
        "failed",
        "rejected",
    ]
    assert [outcome.code for outcome in Outcome] == list(range(7))
