"""The synchronous round once more, slow and written differently: a queue of events, in exact fractions."""

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction

from fedsim.clock import Outcome
from fedsim.cost.price import Prices
from fedsim.fleet.devices import Fleet


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
    price: Prices,
    device: Fleet,
    wanted: int,
    deadline_s: float | None,
    gone_s: Sequence[float] | None = None,
    quorum: int = 1,
) -> tuple[list[Outcome], Fraction, list[tuple[list[int], list[Fraction]]]]:
    """Outcomes, closing time, and what each trip has spent (see `walk`)."""
    clients = len(device)
    able = [int(device.memory_bytes[i]) >= int(price.memory_bytes[i]) for i in range(clients)]
    result = [Outcome.late if able[i] else Outcome.out_of_memory for i in range(clients)]
    gone = [None if gone_s is None or gone_s[i] == math.inf else Fraction(gone_s[i]) for i in range(clients)]
    events: list[tuple[Fraction, int, int]] = []
    for i in range(clients):
        if able[i]:
            whole = sum(walk(price, device, i, Fraction(10**9))[1], Fraction(0))
            leaves = gone[i]
            stays = leaves is None or whole <= leaves
            heapq.heappush(events, (whole, 0, i) if stays or leaves is None else (leaves, 1, i))
    if events and deadline_s is not None:
        heapq.heappush(events, (Fraction(deadline_s), 2, -1))
    clock, back = Fraction(0), 0
    while events and back < wanted:
        clock, kind, i = heapq.heappop(events)
        if kind == 2:
            break
        result[i] = Outcome.dropped if kind else Outcome.completed
        back += not kind
    while events and events[0][0] == clock:  # who leaves just then is gone
        _, kind, i = heapq.heappop(events)
        result[i] = Outcome.dropped if kind == 1 else result[i]
    if back < quorum:
        result = [Outcome.unused if outcome is Outcome.completed else outcome for outcome in result]
    given = [clock if leaves is None else min(clock, leaves) for leaves in gone]
    return result, clock, [walk(price, device, i, given[i] if able[i] else Fraction(0)) for i in range(clients)]


def shares(own: Sequence[Fraction], capacity: Fraction | None) -> list[Fraction]:
    """Max-min fair rates: the slowest first, each its own or an equal part of what is left."""
    rates, left = [Fraction(0)] * len(own), capacity
    for place, i in enumerate(sorted(range(len(own)), key=lambda i: own[i])):
        rates[i] = own[i] if left is None else min(own[i], left / (len(own) - place))
        left = None if left is None else left - rates[i]
    return rates


def linked(
    price: Prices,
    device: Fleet,
    wanted: int,
    gone_s: Sequence[float],
    capacities: tuple[float | None, float | None],
) -> tuple[list[Outcome], Fraction, list[tuple[Fraction, Fraction]], list[Fraction]]:
    """A round over the server's link: outcomes, closing time, bits down and up of each trip, and when each was back.

    Every trip is a list of things to do one after the other: seconds to wait, or bits to send.
    """
    clients = len(device)
    todo: list[list[tuple[str, Fraction]]] = []
    for i in range(clients):
        latency, trip = Fraction(float(device.latency_s[i])), list[tuple[str, Fraction]]()
        for kind, size in (("down", price.download_bytes), ("up", price.upload_bytes)):
            if kind == "up":
                flops = int(price.flops_forward[i]) + int(price.flops_backward[i])
                trip.append(("wait", flops / Fraction(float(device.flops_per_s[i]))))
            if size[i]:
                trip += [("wait", latency), (kind, Fraction(8 * int(size[i])))]
        todo.append([step for step in reversed(trip) if step[1]])
    speeds = {"down": device.downlink_bits_per_s, "up": device.uplink_bits_per_s}
    limits = {kind: None if c is None else Fraction(c) for kind, c in zip(("down", "up"), capacities, strict=True)}
    sent = {"down": [Fraction(0)] * clients, "up": [Fraction(0)] * clients}
    result, clock, back = [Outcome.late] * clients, Fraction(0), [Fraction(-1)] * clients
    under_way = set(range(clients))
    while under_way:
        for i in sorted(under_way):
            if not todo[i]:
                result[i], back[i] = Outcome.completed, clock
                under_way.remove(i)
                if sum(outcome is Outcome.completed for outcome in result) == wanted:
                    return result, clock, list(zip(sent["down"], sent["up"], strict=True)), back
        for i in [i for i in under_way if gone_s[i] <= clock]:
            result[i] = Outcome.dropped
            under_way.remove(i)
        rates = dict.fromkeys(under_way, Fraction(1))
        for kind in ("down", "up"):
            flows = [i for i in sorted(under_way) if todo[i] and todo[i][-1][0] == kind]
            own = [Fraction(float(speeds[kind][i])) for i in flows]
            rates |= dict(zip(flows, shares(own, limits[kind]), strict=True))
        ends = [todo[i][-1][1] / rates[i] for i in under_way]
        leaves = [Fraction(gone_s[i]) - clock for i in under_way if gone_s[i] < math.inf]
        step = min([*ends, *leaves], default=Fraction(0))
        for i in under_way:
            kind, left = todo[i].pop()
            if kind != "wait":
                sent[kind][i] += rates[i] * step
            if left > rates[i] * step:
                todo[i].append((kind, left - rates[i] * step))
        clock += step
    return result, clock, list(zip(sent["down"], sent["up"], strict=True)), back
