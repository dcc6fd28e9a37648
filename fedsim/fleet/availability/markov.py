"""Devices that come and go at random, with other habits by night: a two-state Markov process in continuous time.

A device that is away comes after an exponential time of mean `away_s`, one that is there leaves after one of mean
`available_s`; both means may differ between day and night of the device's own time zone.

To be asked at any time and in any order, the process is not played from its beginning. Let moments "is there from now
on" come at the rate 1 / away_s and, independently, moments "is away from now on" at the rate 1 / available_s, whatever
the device is doing: most of the first kind find a device that is there already, and change nothing. The state is that
of the last moment of either kind. This is exactly the process above, in its steady state, because a state ends with
the first moment of the other kind, and the wait for that is exponential whenever it begins.
"""

from dataclasses import dataclass

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.fleet.availability.base import BoolArray, FloatArray, span_s
from fedsim.fleet.availability.local_time import LocalTime
from fedsim.fleet.availability.poisson import Moments


@dataclass(frozen=True)
class Stretch:
    """Mean lengths of the stretches in which a device is there, and is away."""

    available_s: float
    away_s: float

    def __post_init__(self) -> None:
        if not all(0 < length_s < np.inf for length_s in (self.available_s, self.away_s)):
            raise ValueError(
                f"stretches of {self.available_s:g} and {self.away_s:g} s: both must be above 0 and finite"
            )

    @property
    def share(self) -> float:
        """Share of the time in which a device with these habits is there."""
        return self.available_s / (self.available_s + self.away_s)


class Markov:
    """The process, for all devices of a fleet."""

    def __init__(self, field: rng.Field, local: LocalTime, day: Stretch, night: Stretch, factor: FloatArray) -> None:
        """Nothing is drawn yet.

        Args:
            field: Where the random numbers come from.
            local: What time it is for each device.
            day: Habits by day.
            night: Habits by night.
            factor: Each device's stretches of being there are this many times as long, [devices].

        Raises:
            ValueError: A factor is not a number above 0.
        """
        if not (np.isfinite(factor) & (factor > 0)).all():
            raise ValueError("factors must be above 0 and finite")
        self._come = Moments(field, 0, local, 1 / day.away_s, 1 / night.away_s, np.ones(len(factor)))
        self._leave = Moments(field, 1, local, 1 / day.available_s, 1 / night.available_s, 1 / factor)

    def at(self, devices: IntArray, now_s: float | FloatArray) -> BoolArray:
        """Whether they are available, [n]."""
        times_s = np.broadcast_to(np.asarray(now_s, np.float64), devices.shape)
        there: BoolArray = self._come.last(devices, times_s) > self._leave.last(devices, times_s)
        return there

    def until(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds for which they stay available, [n]; 0 where they are not."""
        return self._wait(devices, now_s, True, self._leave)

    def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds after which they are available, [n]; 0 where they are."""
        return self._wait(devices, now_s, False, self._come)

    def _wait(self, devices: IntArray, now_s: float | FloatArray, there: bool, moments: Moments) -> FloatArray:
        times_s = np.broadcast_to(np.asarray(now_s, np.float64), devices.shape)
        waits_s = np.zeros(len(devices))
        waiting = np.flatnonzero(self.at(devices, times_s) == there)
        waits_s[waiting] = span_s(times_s[waiting], moments.next(devices[waiting], times_s[waiting]))
        return waits_s
