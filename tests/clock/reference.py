"""The synchronous round once more, slow and written differently: a queue of events, in exact fractions."""

import heapq
import math
from fractions import Fraction

from fedsim.clock import Outcome
from fedsim.cost.price import Prices
from fedsim.fleet import Fleet


def walk(price: Prices, device: Fleet, i: int, until: Fraction) -> tuple[list[int], list[Fraction]]:
    """Walk through one trip, step by step: what it has spent after `until` seconds, and the time of each leg."""
    left, spent, times = until, [0, 0, 0, 0], [Fraction(0)] * 3
    forward, backward = int(price.flops_forward[i]), int(price.flops_backward[i])
    links = {
        0: (0, price.download_bytes, device.downlink_bits_per_s),
        2: (1, price.upload_bytes, device.uplink_bits_per_s),
    }
    for leg in range(3):
        if leg == 1:
            whole = Fraction(forward + backward) / Fraction(float(device.flops_per_s[i]))
            times[1] = min(left, whole)
            if whole:
                spent[2] = math.floor(forward * times[1] / whole)
                spent[3] = math.floor(backward * times[1] / whole)
            left -= times[1]
            continue
        slot, sizes, speeds = links[leg]
        if sizes[i] == 0:
            continue
        waited = min(left, Fraction(float(device.latency_s[i])))
        left -= waited
        a_byte_s = 8 / Fraction(float(speeds[i]))
        flowed = min(left, int(sizes[i]) * a_byte_s)
        left -= flowed
        spent[slot] = math.floor(flowed / a_byte_s)
        times[leg] = waited + flowed
    return spent, times


def reference(
    price: Prices, device: Fleet, wanted: int, deadline_s: float | None
) -> tuple[list[Outcome], Fraction, list[tuple[list[int], list[Fraction]]]]:
    """Outcomes, closing time, and what each trip has spent (see `walk`)."""
    clients = len(device)
    able = [int(device.memory_bytes[i]) >= int(price.memory_bytes[i]) for i in range(clients)]
    result = [Outcome.late if able[i] else Outcome.out_of_memory for i in range(clients)]
    events: list[tuple[Fraction, int, int]] = []
    for i in range(clients):
        if able[i]:
            heapq.heappush(events, (sum(walk(price, device, i, Fraction(10**9))[1], Fraction(0)), 0, i))
    if events and deadline_s is not None:
        heapq.heappush(events, (Fraction(deadline_s), 1, -1))
    clock, back = Fraction(0), 0
    while events and back < wanted:
        clock, closing, i = heapq.heappop(events)
        if closing:
            break
        result[i] = Outcome.completed
        back += 1
    return result, clock, [walk(price, device, i, clock if able[i] else Fraction(0)) for i in range(clients)]
