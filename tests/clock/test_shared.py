"""Rounds in which all train one model, in numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from fedsim.clock import Outcome
from fedsim.clock.shared import lockstep, relay
from fedsim.clock.trips import durations
from fedsim.cost.price import Prices
from fedsim.cost.split import Remote

from .cohorts import fleet, prices

# 8 bit/s is a byte a second; a message takes half a second before its bytes flow
DEVICES = fleet([10.0, 20.0, 10.0], latency_s=0.5, memory_bytes=[100, 100, 5], radio_power_w=3.0)


def split(messages: list[int], cut: int = 12) -> Prices:
    """Trips with 6 bytes of parameters each way, 40 FLOPs on the device and 30 at the server."""
    size = len(messages)
    remote = Remote(
        messages=np.array(messages),
        cut_upload_bytes=np.full(size, cut),
        cut_download_bytes=np.full(size, cut),
        server_flops_forward=np.full(size, 10),
        server_flops_backward=np.full(size, 20),
        server_s=np.full(size, 1.5),
    )
    both = prices(size, 6 + cut, 6 + cut, flops_forward=10, flops_backward=30, memory_bytes=50)
    return replace(both, remote=remote)


def test_a_trip_with_messages_takes_all_of_its_legs() -> None:
    needed = durations(split([4, 4, 8]), DEVICES)
    assert needed.download_s.tolist() == needed.upload_s.tolist() == [6.5] * 3
    assert needed.compute_s.tolist() == [4.0, 2.0, 4.0]
    assert needed.exchange_s.tolist() == [26.0, 26.0, 28.0]
    assert needed.server_s.tolist() == [1.5] * 3
    assert needed.training_s.tolist() == [31.5, 29.5, 33.5]
    assert needed.total_s.tolist() == [44.5, 42.5, 46.5]


def test_in_a_relay_the_next_one_starts_when_the_one_before_is_back() -> None:
    trips = relay(split([4, 4, 4]), DEVICES, 100.0)
    assert trips.start_s.tolist() == [100.0, 144.5, 187.0]
    assert trips.end_s.tolist() == [144.5, 187.0, 187.0]
    assert trips.closed_s == 187.0
    assert [Outcome.completed.code] * 2 + [Outcome.out_of_memory.code] == trips.outcome.tolist()
    for spent in (trips.download_bytes, trips.upload_bytes):
        assert spent.tolist() == [18, 18, 0]
    assert trips.cut_upload_bytes.tolist() == trips.cut_download_bytes.tolist() == [12, 12, 0]
    assert trips.server_flops_backward.tolist() == [20, 20, 0]
    assert trips.exchange_s.tolist() == [26.0, 26.0, 0.0]
    # a watt while computing, three while 36 bytes flow; waiting and latency are free
    assert trips.energy_j.tolist() == [4.0 + 3 * 36, 2.0 + 3 * 36, 0.0]
    assert trips.downloaded.tolist() == [True, True, False]


def test_in_lockstep_a_step_begins_when_the_slowest_has_ended_the_one_before() -> None:
    steps_s = np.array([[10.0, 21.5, 0.0], [29.5, 0.0, 0.0], [9.0, 9.0, 9.0]])
    trips = lockstep(split([8, 4, 12]), DEVICES, steps_s, 0.0)
    # both begin their first step at 6.5: the first has ended at 16.5 and waits for the second until 36
    assert trips.wait_s.tolist() == [19.5, 0.0, 0.0]
    # what the second does after its only step keeps nobody; the third has too little memory and is not waited for
    assert trips.end_s.tolist() == pytest.approx([6.5 + 4 + 28 + 1.5 + 19.5 + 6.5, 42.5, 0.0])
    assert trips.closed_s == trips.end_s[0]
    assert trips.start_s.tolist() == [0.0] * 3


def test_a_slow_download_keeps_the_others_waiting() -> None:
    one = split([8, 8], cut=0)
    late = replace(one, download_bytes=np.array([0, 20]))
    trips = lockstep(late, DEVICES.take(np.array([0, 1])), np.full((2, 2), 5.0), 0.0)
    assert trips.download_s.tolist() == [0.0, 20.5]
    assert trips.wait_s.tolist() == [20.5, 0.0]


def test_nobody_able_closes_at_once() -> None:
    poor = DEVICES.take(np.array([2, 2]))
    for trips in (relay(split([4, 4]), poor, 7.0), lockstep(split([4, 4]), poor, np.ones((2, 1)), 7.0)):
        assert trips.closed_s == 7.0
        assert (trips.outcome == Outcome.out_of_memory.code).all()
    with pytest.raises(ValueError, match="2 prices for 1 devices"):
        relay(split([4, 4]), DEVICES.take(np.array([0])), 0.0)
