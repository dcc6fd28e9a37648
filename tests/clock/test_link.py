from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedsim.clock.link import Flows, Sent, send
from fedsim.fleet.devices import FloatArray
from tests.clock.steps import send_in_steps

FAST = 1e15
"""A device that is never held back by its own bandwidth."""


def flows(start_s: list[float], size_bits: list[float], own: list[float] | float = FAST) -> Flows:
    clients = len(start_s)
    bandwidth = np.broadcast_to(np.asarray(own, np.float64), (clients,)).copy()
    return Flows(np.array(start_s, np.float64), np.array(size_bits, np.float64), bandwidth, np.full(clients, np.inf))


# --- closed forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 2, 7, 100])
def test_equal_flows_share_equally_and_end_together(clients: int) -> None:
    sent = send(flows([3.0] * clients, [500.0] * clients), 50.0)
    assert sent.end_s.tolist() == pytest.approx([3 + clients * 10] * clients)
    assert len(set(sent.end_s.tolist())) == 1
    assert sent.bits.tolist() == [500.0] * clients


def test_unequal_flows_from_one_start_end_in_order_of_size() -> None:
    sizes = [10.0, 40.0, 20.0, 100.0]
    # the k-th to end waits for (n - j + 1) times each difference of sorted sizes up to its own
    assert send(flows([0.0] * 4, sizes), 10.0).end_s.tolist() == pytest.approx([4.0, 11.0, 7.0, 17.0])


def test_a_slow_device_leaves_its_share_to_the_others() -> None:
    sent = send(flows([0.0] * 3, [20.0, 400.0, 400.0], [2.0, FAST, FAST]), 100.0)
    # the slow one takes 2 of 100 bit/s for 10 s, the others 49 each, so 400 bits take less than that
    assert sent.end_s.tolist() == pytest.approx([10.0, 400 / 49, 400 / 49])


def test_a_flow_leaves_the_level_when_others_end_and_comes_back_when_others_begin() -> None:
    sent = send(flows([0.0, 0.0, 4.0], [300.0, 100.0, 60.0], [30.0, FAST, FAST]), 50.0)
    # 25 bit/s each until the second ends at 4 s and the third begins, whose 60 bits are through at 6.4 s;
    # then the first is alone with the 140 bits that it has left, at its own 30 bit/s
    assert sent.end_s.tolist() == pytest.approx([6.4 + 140 / 30, 4.0, 6.4])


def test_a_link_with_room_for_all_changes_nothing() -> None:
    data = flows([0.0, 1.0, 5.0], [100.0, 80.0, 0.0], [10.0, 20.0, 5.0])
    for capacity in (30.0, 1e12):
        assert send(data, capacity).end_s.tolist() == [10.0, 5.0, 5.0]
    assert send(data, 29.0).end_s.tolist() == pytest.approx([10.0, 1 + 80 / 19, 5.0])


def test_one_flow_takes_what_is_there() -> None:
    assert send(flows([2.0], [100.0], 40.0), 10.0).end_s.tolist() == [12.0]
    assert send(flows([2.0], [100.0], 5.0), 10.0).end_s.tolist() == [22.0]


def test_no_flows() -> None:
    assert send(flows([], []), 10.0).end_s.tolist() == []


def test_given_up_flows_make_room() -> None:
    data = replace(flows([0.0, 0.0], [100.0, 100.0]), gone_s=np.array([4.0, np.inf]))
    sent = send(data, 10.0)
    assert sent.end_s.tolist() == [np.inf, 12.0]
    assert sent.bits.tolist() == [20.0, 100.0]


def test_given_up_at_its_end_or_before_its_beginning() -> None:
    data = replace(flows([0.0, 0.0, 5.0], [50.0, 100.0, 9.0]), gone_s=np.array([10.0, 1e9, 5.0]))
    sent = send(data, 10.0)
    assert sent.end_s.tolist() == pytest.approx([10.0, 15.0, np.inf])
    assert sent.bits.tolist() == [50.0, 100.0, 0.0]


@pytest.mark.parametrize(("capacity", "first"), [(10.0, 25.0), (1e6, 30.0)])
def test_stopping_tells_what_has_flowed(capacity: float, first: float) -> None:
    data = flows([0.0, 1.0, 8.0], [30.0, 100.0, 5.0], [10.0, 4.0, 1.0])
    sent = send(data, capacity, until_s=3.5)
    whole = send(data, capacity)
    assert np.isinf(sent.end_s).tolist() == (whole.end_s > 3.5).tolist()
    assert sent.bits.tolist() == pytest.approx([first, 10.0, 0.0])
    assert send(data, capacity, until_s=1e9).end_s.tolist() == whole.end_s.tolist()


# --- queues ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize("law", ["equal", "exponential"])
def test_mean_time_of_processor_sharing_with_random_arrivals(load: float, law: str) -> None:
    draw = np.random.default_rng(7)
    count, capacity = 12_000, 1000.0
    sizes = np.full(count, 500.0) if law == "equal" else draw.exponential(500.0, count)
    starts = np.cumsum(draw.exponential(0.5 / load, count))
    sent = send(Flows(starts, sizes, np.full(count, FAST), np.full(count, np.inf)), capacity)
    times = (sent.end_s - starts)[1000:]
    # M/D/1-PS and M/M/1-PS have the same mean: service time / (1 - load) (Kleinrock 1976)
    assert times.mean() == pytest.approx(0.5 / (1 - load), rel=0.06)


def test_time_in_processor_sharing_is_proportional_to_size() -> None:
    draw = np.random.default_rng(3)
    count, load = 30_000, 0.6
    sizes = draw.choice([100.0, 1000.0], count)
    starts = np.cumsum(draw.exponential(0.55 / load, count))
    sent = send(Flows(starts, sizes, np.full(count, FAST), np.full(count, np.inf)), 1000.0)
    times = sent.end_s - starts
    for size in (100.0, 1000.0):
        assert times[sizes == size].mean() == pytest.approx(size / 1000 / (1 - load), rel=0.06)


# --- against other methods --------------------------------------------------------------------------------------


@st.composite
def cohorts(draw: st.DrawFn, most: int = 8) -> Flows:
    clients = draw(st.integers(1, most))

    def column(low: float, high: float) -> FloatArray:
        return np.array(
            draw(st.lists(st.floats(low, high).map(lambda value: round(value, 6)), min_size=clients, max_size=clients))
        )

    gone = column(0.0, 60.0)
    kept = np.array(draw(st.lists(st.booleans(), min_size=clients, max_size=clients)))
    return Flows(column(0.0, 10.0), column(0.0, 100.0), column(0.5, 30.0), np.where(kept, np.inf, gone))


@settings(max_examples=15)
@given(cohorts(6), st.floats(1.0, 40.0))
def test_against_small_steps(data: Flows, capacity: float) -> None:
    step_s, until_s = 0.05, 30.0
    end_s, bits = send_in_steps(data, capacity, step_s, until_s)
    sent = send(data, capacity, until_s)
    # each beginning, end and parting may shift everybody by a step, which costs that step's bits
    error_bits = 4 * len(end_s) * step_s * capacity
    np.testing.assert_allclose(sent.bits, bits, atol=error_bits)
    both = np.isfinite(sent.end_s) & np.isfinite(end_s)
    slowest = np.minimum(data.own_bits_per_s, capacity / len(end_s))
    error_s = np.abs(sent.end_s[both] - end_s[both])
    assert (error_s <= (error_bits / slowest)[both] + 2 * step_s).all()


@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0))
def test_the_link_is_never_idle_while_somebody_could_send(data: Flows, capacity: float) -> None:
    sent = send(data, capacity)
    stop_s = np.where(np.isfinite(sent.end_s), sent.end_s, np.maximum(data.gone_s, data.start_s))
    edges = np.unique(np.concatenate([data.start_s, stop_s]))
    flowed = 0.0
    for a, b in pairwise(edges.tolist()):
        own = data.own_bits_per_s[(data.start_s <= a) & (b <= stop_s) & (data.size_bits > 0)]
        flowed += min(capacity, own.sum()) * (b - a)
    assert sent.bits.sum() == pytest.approx(flowed, rel=1e-9, abs=1e-6)


@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0))
def test_limits_of_every_flow(data: Flows, capacity: float) -> None:
    sent = send(data, capacity)
    alone = data.size_bits / np.minimum(data.own_bits_per_s, capacity)
    ended = np.isfinite(sent.end_s)
    assert (sent.end_s >= (data.start_s + alone) * (1 - 1e-12))[ended].all()
    assert (sent.end_s <= data.gone_s)[ended].all()
    assert (sent.bits[ended] == data.size_bits[ended]).all()
    assert ((sent.bits >= 0) & (sent.bits <= data.size_bits)).all()


# --- monotone ---------------------------------------------------------------------------------------------------


def later(one: Sent, other: Sent) -> bool:
    """No flow ends sooner, nor has more flowed of any."""
    return bool((one.end_s >= other.end_s * (1 - 1e-9) - 1e-9).all() and (one.bits <= other.bits + 1e-6).all())


@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0), st.floats(1.0, 3.0))
def test_a_wider_link_delays_nobody(data: Flows, capacity: float, wider: float) -> None:
    assert later(send(data, capacity), send(data, capacity * wider))


@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0), st.data())
def test_a_larger_flow_or_one_more_hurries_nobody(data: Flows, capacity: float, choice: st.DataObject) -> None:
    assume(np.isinf(data.gone_s).any())
    one = choice.draw(st.integers(0, len(data.size_bits) - 1))
    larger = data.size_bits.copy()
    larger[one] *= choice.draw(st.floats(1.0, 3.0))
    more, before = send(replace(data, size_bits=larger), capacity), send(data, capacity)
    others = np.arange(len(larger)) != one
    assert later(Sent(more.end_s[others], more.bits[others]), Sent(before.end_s[others], before.bits[others]))
    assert more.end_s[one] >= before.end_s[one] * (1 - 1e-9)
    without = replace(data, size_bits=np.where(others, data.size_bits, 0.0))
    fewer = send(without, capacity)
    assert later(Sent(before.end_s[others], before.bits[others]), Sent(fewer.end_s[others], fewer.bits[others]))


@pytest.mark.slow
@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0), st.floats(0.0, 30.0), st.floats(0.0, 30.0))
def test_more_has_flowed_later(data: Flows, capacity: float, one_s: float, other_s: float) -> None:
    first, second = send(data, capacity, min(one_s, other_s)), send(data, capacity, max(one_s, other_s))
    assert (second.bits >= first.bits - 1e-6).all()


@settings(max_examples=100)
@given(cohorts(), st.floats(1.0, 60.0), st.integers(0, 999))
def test_the_order_of_flows_does_not_matter(data: Flows, capacity: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(data.size_bits))
    mixed = Flows(*(column[order] for column in (data.start_s, data.size_bits, data.own_bits_per_s, data.gone_s)))
    sent, again = send(data, capacity), send(mixed, capacity)
    np.testing.assert_allclose(again.end_s, sent.end_s[order], rtol=1e-9)
    np.testing.assert_allclose(again.bits, sent.bits[order], atol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_sizes_are_bytes() -> None:
    data = Flows.of(np.array([0.0]), np.array([100]), np.array([10.0]))
    assert data.size_bits.tolist() == [800.0]
    assert data.gone_s.tolist() == [np.inf]


@pytest.mark.parametrize("capacity", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_link(capacity: float) -> None:
    with pytest.raises(ValueError, match="its capacity must be finite and above 0"):
        send(flows([0.0], [1.0]), capacity)


@pytest.mark.parametrize(
    ("start", "size", "own", "gone", "says"),
    [
        (np.nan, 1, 1.0, 1.0, "finite beginnings"),
        (np.inf, 1, 1.0, 1.0, "finite beginnings"),
        (0.0, 1, 0.0, 1.0, "bandwidths above 0"),
        (0.0, 1, np.nan, 1.0, "bandwidths above 0"),
        (0.0, -1, 1.0, 1.0, "sizes must not be below 0"),
        (0.0, 1, 1.0, np.nan, "times must be numbers"),
    ],
)
def test_impossible_flows(start: float, size: int, own: float, gone: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Flows.of(np.array([start]), np.array([size]), np.array([own]), np.array([gone]))
