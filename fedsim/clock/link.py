"""The server's own connection, shared by everybody who is sending at the moment.

At any time the link's capacity is shared max-min fairly: no flow gets more than its device's own bandwidth, and all
that are not held back by their own get the same, the *level*, which is found as water finds its own. Where no device
is slower than its share, this is processor sharing (Kleinrock 1976, *Queueing Systems*, vol. 2).

Between two events (a flow begins, ends or is given up) rates do not change, so that times follow exactly, without
steps. Flows at the level all advance alike, wherever the level goes: with V(t) the bits that one at the level has been
given since the beginning, such a flow ends when V reaches its own mark. Flows at their own bandwidth end at a time
that is known. So an event costs the logarithm of the number of flows, plus as much for each flow that changes sides.
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Self

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray

_UNITS = 2.0**52
"""Units of bandwidth in one bit/s: every float from 1 on is a whole number of them, so that sums are exact."""
# Kinds of events, in the order in which they happen where they happen at the same time.
_LEVEL_END, _OWN_END, _GONE, _BEGIN = range(4)


@dataclass(frozen=True, eq=False)
class Flows:
    """What is to be sent over the link; every array has shape [flows]."""

    start_s: FloatArray
    """When its first bit may flow."""
    size_bits: FloatArray
    own_bits_per_s: FloatArray
    """The device's own bandwidth: it never gets more."""
    gone_s: FloatArray
    """When it is given up if it has not ended by then; infinite: never."""

    @classmethod
    def of(
        cls, start_s: FloatArray, size_bytes: IntArray, own_bits_per_s: FloatArray, gone_s: FloatArray | None = None
    ) -> Self:
        """From sizes in bytes; without `gone_s` no flow is given up.

        Raises:
            ValueError: A bandwidth is not above 0, a size is below 0, or a time or a bandwidth is not finite.
        """
        gone_s = np.full(len(start_s), np.inf) if gone_s is None else gone_s
        flows = cls(start_s, (8 * size_bytes).astype(np.float64), own_bits_per_s, gone_s)
        if not (np.isfinite(start_s).all() and np.isfinite(own_bits_per_s).all() and (own_bits_per_s > 0).all()):
            raise ValueError("flows need finite beginnings, and finite bandwidths above 0")
        if (size_bytes < 0).any() or np.isnan(gone_s).any():
            raise ValueError("sizes must not be below 0, and times must be numbers")
        return flows


@dataclass(frozen=True, eq=False)
class Sent:
    """What became of flows; every array has shape [flows]."""

    end_s: FloatArray
    """When the last bit had flowed; infinite where it never did."""
    bits: FloatArray
    """Bits that flowed, all of them where it ended."""


def send(flows: Flows, bits_per_s: float, until_s: float = np.inf) -> Sent:
    """Play the link.

    Args:
        flows: What is to be sent.
        bits_per_s: The link's capacity.
        until_s: Stop here, with what has flowed by then.

    Raises:
        ValueError: The capacity is not a finite number above 0.
    """
    if not 0 < bits_per_s < np.inf:
        raise ValueError(f"a link of {bits_per_s:g} bit/s: its capacity must be finite and above 0")
    alone = _unshared(flows)
    if _busiest(flows, alone, until_s) <= bits_per_s:
        return _cut(flows, alone, until_s)
    return _Link(flows, bits_per_s).play(until_s)


def _unshared(flows: Flows) -> FloatArray:
    """When each flow would end if it had the link to itself, however long that takes."""
    return flows.start_s + flows.size_bits / flows.own_bits_per_s


def _busiest(flows: Flows, end_s: FloatArray, until_s: float) -> float:
    """Most that devices could send at any one time, if each ended at `end_s`, in bit/s."""
    end_s = np.minimum(np.minimum(end_s, flows.gone_s), until_s)
    own = np.where(end_s > flows.start_s, flows.own_bits_per_s, 0.0)
    times = np.concatenate([end_s, flows.start_s])
    # Who ends makes room for who begins at the same time; summed up in that order.
    order = np.argsort(times, kind="stable")
    load = np.cumsum(np.concatenate([-own, own])[order])
    return float(load.max(initial=0.0))


def _cut(flows: Flows, end_s: FloatArray, until_s: float) -> Sent:
    """What has flowed where every flow had its own bandwidth."""
    stop_s = np.minimum(flows.gone_s, until_s)
    flowed = np.clip(stop_s - flows.start_s, 0.0, None)
    whole = (end_s <= stop_s) & (flows.start_s < flows.gone_s)
    bits = np.where(whole, flows.size_bits, np.minimum(flows.size_bits, flowed * flows.own_bits_per_s))
    return Sent(np.where(whole, end_s, np.inf), bits)


class _Link:
    """The link in the course of time."""

    def __init__(self, flows: Flows, bits_per_s: float) -> None:
        self.capacity = bits_per_s
        self.size: list[float] = flows.size_bits.tolist()
        self.own: list[float] = flows.own_bits_per_s.tolist()
        self.units = [round(bandwidth * _UNITS) for bandwidth in self.own]
        gone = flows.gone_s.tolist()
        self.beginnings = [(start, i) for i, start in enumerate(flows.start_s.tolist()) if start < gone[i]]
        self.partings = [(gone[i], i) for _, i in self.beginnings if gone[i] < np.inf]
        heapify(self.beginnings)
        heapify(self.partings)
        self.now_s = min(self.beginnings, default=(0.0, 0))[0]
        self.given = 0.0
        """V(now): the bits that a flow at the level has been given since the beginning."""
        self.mark: dict[int, float] = {}
        """Of flows under way: the V at which one at the level ends; the time at which one at its own bandwidth ends."""
        self.turn = [0] * len(self.own)
        """Rises when a flow changes sides or leaves, which puts its entries in the heaps out of date."""
        self.level_ends, self.own_ends = _Heap(self.turn), _Heap(self.turn)
        self.slowest, self.fastest = _Heap(self.turn), _Heap(self.turn)
        """Flows at the level by bandwidth, flows at their own by bandwidth, the fastest first."""
        self.level: set[int] = set()
        self.own_units = 0
        """Bandwidth of the flows at their own, in whole units: a sum of floats would drift."""
        self.end_s = np.full(len(self.own), np.inf)
        self.bits = np.zeros(len(self.own))

    def play(self, until_s: float) -> Sent:
        while (event := self._next()) is not None and event[0] <= until_s:
            time_s, kind, flow = event
            self._advance(time_s)
            if kind == _BEGIN:
                heappop(self.beginnings)
                self._to_level(flow, self.size[flow])
            elif kind == _GONE:
                heappop(self.partings)
                if flow in self.mark:
                    self.bits[flow] = self.size[flow] - self._leave(flow)
            else:
                if kind == _LEVEL_END:
                    self.given = self.mark[flow]  # to the bit, so that equal flows end at the same time
                self._leave(flow)
                self.end_s[flow], self.bits[flow] = time_s, self.size[flow]
            self._find_level()
        if self.mark:
            self._advance(until_s)
            for flow in list(self.mark):
                self.bits[flow] = self.size[flow] - self._leave(flow)
        return Sent(self.end_s, self.bits)

    def _rate(self) -> float:
        """What a flow at the level gets, in bit/s."""
        return (self.capacity - self.own_units / _UNITS) / len(self.level)

    def _next(self) -> tuple[float, int, int] | None:
        """Time, kind and flow of the next event."""
        events = []
        if top := self.level_ends.top():
            events.append((self.now_s + max(0.0, top[0] - self.given) / self._rate(), _LEVEL_END, top[1]))
        if top := self.own_ends.top():
            events.append((max(self.now_s, top[0]), _OWN_END, top[1]))
        if self.partings:
            events.append((self.partings[0][0], _GONE, self.partings[0][1]))
        if self.beginnings:
            events.append((self.beginnings[0][0], _BEGIN, self.beginnings[0][1]))
        return min(events, default=None)

    def _advance(self, time_s: float) -> None:
        if self.level:
            self.given += self._rate() * (time_s - self.now_s)
        self.now_s = time_s

    def _find_level(self) -> None:
        """Flows that their own bandwidth no longer holds back join the level; those that it does now leave it."""
        while self.level and (top := self.fastest.top()) and -top[0] > self._rate():
            self._to_level(top[1], self._leave(top[1]))
        while (top := self.slowest.top()) and top[0] <= self._rate():
            self._to_own(top[1], self._leave(top[1]))

    def _to_level(self, flow: int, left_bits: float) -> None:
        self.mark[flow] = self.given + left_bits
        self.level.add(flow)
        self.level_ends.push(self.mark[flow], flow)
        self.slowest.push(self.own[flow], flow)

    def _to_own(self, flow: int, left_bits: float) -> None:
        self.mark[flow] = self.now_s + left_bits / self.own[flow]
        self.own_units += self.units[flow]
        self.own_ends.push(self.mark[flow], flow)
        self.fastest.push(-self.own[flow], flow)

    def _leave(self, flow: int) -> float:
        """Take a flow off its side; returns the bits that it still has to send."""
        mark = self.mark.pop(flow)
        self.turn[flow] += 1
        if flow in self.level:
            self.level.remove(flow)
            return max(0.0, mark - self.given)
        self.own_units -= self.units[flow]
        return max(0.0, mark - self.now_s) * self.own[flow]


class _Heap:
    """Flows by a key, the least first; entries of flows that have gone elsewhere are passed over."""

    def __init__(self, turn: list[int]) -> None:
        self.entries: list[tuple[float, int, int]] = []
        self.turn = turn

    def push(self, key: float, flow: int) -> None:
        heappush(self.entries, (key, flow, self.turn[flow]))

    def top(self) -> tuple[float, int] | None:
        while self.entries and self.entries[0][2] != self.turn[self.entries[0][1]]:
            heappop(self.entries)
        return self.entries[0][:2] if self.entries else None
