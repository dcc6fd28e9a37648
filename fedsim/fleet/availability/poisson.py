"""Moments of a Poisson process for each device, found around any time without playing it from its beginning."""

from dataclasses import dataclass

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.fleet.availability.base import BoolArray, FloatArray
from fedsim.fleet.availability.local_time import DAY_S, LocalTime

_CHUNK = 8192
"""Devices looked at in one go: their numbers stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments that come at one rate by day and another by night.

    Each device counts time by the number of moments that are expected: by that count the process has the rate 1 at any
    time. Its pieces, [0, 1), [1, 2) and so on to both sides, are independent, and each has random numbers of its own.
    """

    field: rng.Field
    """Where the random numbers come from."""
    kind: int
    """Tells processes over the same field apart; from 0 to 7."""
    local: LocalTime
    day_per_s: float
    night_per_s: float
    factor: FloatArray
    """On both rates, [devices]."""

    def last(self, devices: IntArray, times_s: FloatArray) -> FloatArray:
        """The last moment of each device up to these times, [n]."""
        return self._search(devices, times_s, -1)

    def next(self, devices: IntArray, times_s: FloatArray) -> FloatArray:
        """The first moment of each device after these times, [n]; `last` counts it from there on, to the bit."""
        return self._search(devices, times_s, 1)

    def _search(self, devices: IntArray, times_s: FloatArray, step: int) -> FloatArray:
        """Look through the piece that each time is in, then through those before or after it."""
        found_s = np.empty(len(devices))
        for start in range(0, len(devices), _CHUNK):
            part = slice(start, start + _CHUNK)
            own = devices[part]
            counts = self._count(own, times_s[part])
            found = np.empty(len(own))
            left, pieces = np.arange(len(own)), np.floor(counts)
            while len(left):
                best = self._in_piece(own[left], pieces, counts[left], later=step > 0)
                found[left] = best
                missing = np.isnan(best)
                left, pieces = left[missing], pieces[missing] + step
            moments_s = self._time_s(own, found)
            found_s[part] = self._not_early(own, moments_s, found) if step > 0 else moments_s
        return found_s

    def _not_early(self, devices: IntArray, times_s: FloatArray, counts: FloatArray) -> FloatArray:
        """These times, moved on by roundings until so many moments are expected, [n]."""
        move_s = np.spacing(np.abs(times_s))
        while (early := self._count(devices, times_s) < counts).any():
            times_s = np.where(early, times_s + move_s, times_s)
            move_s *= 2
        return times_s

    def _in_piece(self, devices: IntArray, pieces: FloatArray, counts: FloatArray, later: bool) -> FloatArray:
        """In a piece of each device: the last moment up to these counts, or the first after them; NaN where none is."""
        best, place = np.full(len(devices), np.nan), np.zeros(len(devices))
        left, batch = np.arange(len(devices)), 0
        while len(left):
            here, piece, count, chosen = place[left], pieces[left], counts[left], best[left]
            for gap in self._gaps(devices[left], piece, batch):
                here += gap
                moment = piece + here
                hit = (here < 1) & self._wanted(moment, count, chosen, later)
                chosen = np.where(hit, moment, chosen)
            place[left], best[left] = here, chosen
            left, batch = left[here < 1], batch + 1
        return best

    @staticmethod
    def _wanted(moment: FloatArray, count: FloatArray, chosen: FloatArray, later: bool) -> BoolArray:
        wanted: BoolArray = (moment > count) & np.isnan(chosen) if later else moment <= count
        return wanted

    def _gaps(self, devices: IntArray, pieces: FloatArray, batch: int) -> FloatArray:
        """Four waits of mean 1 for each device, [4, n]."""
        number = pieces.astype(np.int64)
        return -np.log(self.field.at(devices, number, number >> 32, 8 * batch + self.kind))

    def _count(self, devices: IntArray, times_s: FloatArray) -> FloatArray:
        """Moments expected from a certain dusk to these times, [n]."""
        since_s = self.local.since_dusk_s(devices, times_s)
        days = np.floor(since_s / DAY_S)
        rest_s = since_s - days * DAY_S
        by_night_s = np.minimum(rest_s, self.local.night_s)
        today = self.night_per_s * by_night_s + self.day_per_s * (rest_s - by_night_s)
        count: FloatArray = self.factor[devices] * (days * self._a_day + today)
        return count

    def _time_s(self, devices: IntArray, counts: FloatArray) -> FloatArray:
        """When so many are expected to have come, [n]: the inverse of `_count`."""
        whole = counts / self.factor[devices]
        days = np.floor(whole / self._a_day)
        rest = whole - days * self._a_day
        by_night = np.minimum(rest, self.night_per_s * self.local.night_s)
        rest_s = by_night / self.night_per_s + (rest - by_night) / self.day_per_s
        times_s: FloatArray = days * DAY_S + rest_s - self.local.dusk_s(devices)
        return times_s

    @property
    def _a_day(self) -> float:
        """Moments expected in 24 hours where the factor is 1."""
        return self.night_per_s * self.local.night_s + self.day_per_s * (DAY_S - self.local.night_s)
