"""What availability is: a function of device and time, which may be asked in any order and always says the same."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedsim.data.work import IntArray

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_CHUNK = 1 << 16
"""Devices looked at in one go where all of a fleet is asked."""


class Availability(Protocol):
    """When devices are available.

    Devices come and go at moments; at such a moment the new state holds. `devices` has shape [n] and may name a device
    more than once; `now_s` is one time for all of them, or one a device. What `until` and `after` give leads to the new
    state when it is added to `now_s`, rounding included.
    """

    def at(self, devices: IntArray, now_s: float | FloatArray) -> BoolArray:
        """Whether they are available, [n]."""

    def until(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds for which they stay available, [n]; 0 where they are not, infinite where they never leave."""

    def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds after which they are available, [n]; 0 where they are, infinite where they never will be."""


class Always:
    """Every device at any time."""

    def at(self, devices: IntArray, now_s: float | FloatArray) -> BoolArray:
        """True for all."""
        return np.ones(len(devices), np.bool_)

    def until(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """For ever."""
        return np.full(len(devices), np.inf)

    def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """At once."""
        return np.zeros(len(devices))


def next_s(availability: Availability, clients: int, now_s: float, wanted: int = 1) -> float:
    """When at least this many of a fleet's devices have been available since `now_s`; infinite where that never is.

    Args:
        availability: Of the fleet.
        clients: Number of devices in it.
        now_s: From when on.
        wanted: How many must have come, each at its own time; they need not be there together.
    """
    soonest = np.zeros(0)
    for start in range(0, clients, _CHUNK):
        waits = availability.after(np.arange(start, min(start + _CHUNK, clients)), now_s)
        soonest = np.sort(np.concatenate([soonest, waits]))[:wanted]
        if len(soonest) == wanted and soonest[-1] == 0:
            break
    return now_s + float(soonest[-1]) if len(soonest) == wanted else np.inf


def next_change_s(
    availability: Availability,
    clients: int,
    now_s: float,
    among: Callable[[IntArray], BoolArray] | None = None,
) -> float:
    """When the next device comes that is away at `now_s`; if none of those comes, when the first of the others leaves.

    Args:
        availability: Of the fleet.
        clients: Number of devices in it.
        now_s: From when on.
        among: Which devices are looked at; None: all.

    Returns:
        A time after `now_s`; infinite where nothing ever changes.
    """
    comes_s, leaves_s = np.inf, np.inf
    for start in range(0, clients, _CHUNK):
        some = np.arange(start, min(start + _CHUNK, clients))
        some = some if among is None else some[among(some)]
        there = availability.at(some, now_s)
        comes_s = min(comes_s, availability.after(some[~there], now_s).min(initial=np.inf))
        leaves_s = min(leaves_s, availability.until(some[there], now_s).min(initial=np.inf))
    return now_s + float(comes_s if comes_s < np.inf else leaves_s)


def span_s(now_s: FloatArray, then_s: FloatArray) -> FloatArray:
    """Seconds from one time to a later one, [n]: the least that are not too few when they are added to `now_s`."""
    span = then_s - now_s
    while (short := now_s + span < then_s).any():
        span = np.where(short, np.nextafter(span, np.inf), span)
    return span
