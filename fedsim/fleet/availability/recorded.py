"""Availability as it was recorded: intervals in which a device was there, played again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.availability.base import BoolArray, FloatArray, span_s


@dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals of many recordings, one recording after the other; those of one ascend and do not touch."""

    start_s: FloatArray
    """Of each interval, from 0 on."""
    end_s: FloatArray
    """Of each interval; the device is away from then on."""
    offsets: IntArray
    """Where each recording begins in both, and the end: [recordings + 1]."""
    period_s: FloatArray
    """Length of each recording, after which it begins anew; [recordings]."""

    def __len__(self) -> int:
        return len(self.period_s)

    @classmethod
    def of(cls, recordings: Sequence[tuple[Sequence[tuple[float, float]], float]]) -> Self:
        """From one (intervals, period) a recording; intervals that touch become one.

        Raises:
            Overlap: Intervals of a recording overlap, are empty, or lie outside of it.
        """
        counts = [len(spans) for spans, _ in recordings]
        flat = np.array([span for spans, _ in recordings for span in spans], np.float64).reshape(-1, 2)
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        periods = np.array([period for _, period in recordings], np.float64)
        return cls.checked(flat[:, 0], flat[:, 1], offsets, periods)

    @classmethod
    def checked(cls, start_s: FloatArray, end_s: FloatArray, offsets: IntArray, period_s: FloatArray) -> Self:
        """From columns as of this class whose order within a recording is right but not yet checked.

        Raises:
            Overlap: Intervals of a recording overlap, are empty, or lie outside of it.
        """
        recording = np.repeat(np.arange(len(period_s)), np.diff(offsets))
        first = np.ones(len(start_s), np.bool_)
        first[1:] = recording[1:] != recording[:-1]
        before = np.where(first, 0.0, np.concatenate([[0.0], end_s[:-1]]))[: len(start_s)]
        sound = (before <= start_s) & (start_s < end_s) & (end_s <= period_s[recording])
        if not sound.all():
            bad = int(np.argmin(sound))
            raise Overlap(int(recording[bad]), bad, float(start_s[bad]), float(end_s[bad]), float(before[bad]))
        opens = first | (start_s > before)
        closes = np.concatenate([opens[1:], [True]])[: len(opens)]
        counts = np.bincount(recording[opens], minlength=len(period_s))
        return cls(start_s[opens], end_s[closes], np.concatenate([[0], np.cumsum(counts)]), period_s)


class Overlap(ValueError):
    """Intervals that cannot be: which recording, which interval (over all of them), and its times."""

    def __init__(self, recording: int, interval: int, start_s: float, end_s: float, before_s: float) -> None:
        self.recording, self.interval = recording, interval
        self.start_s, self.end_s, self.before_s = start_s, end_s, before_s
        super().__init__(
            f"from {start_s:.15g} to {end_s:.15g} s: it must be longer than nothing, begin no sooner than the one "
            f"before it ends ({before_s:.15g} s), and end within the recording"
        )


@dataclass(frozen=True, eq=False)
class Recorded:
    """Each device lives through a recording, from its beginning at time 0, over and over."""

    intervals: Intervals
    recording: IntArray
    """Of each device, [devices]."""

    def at(self, devices: IntArray, now_s: float | FloatArray) -> BoolArray:
        """Whether they are available, [n]."""
        there, _, _ = self._find(devices, now_s)
        return there

    def until(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds for which they stay available, [n]; 0 where they are not, infinite where they never leave."""
        there, place, rest_s = self._find(devices, now_s)
        waits_s, leaving = np.zeros(len(devices)), np.flatnonzero(there)
        if len(leaving):
            data, own, place = self.intervals, self.recording[devices[leaving]], place[leaving]
            first = data.offsets[own]
            # An interval at the recording's end goes on with the one at its beginning.
            on = (data.end_s[place] == data.period_s[own]) & (data.start_s[first] == 0)
            more = np.where(on, np.where(place == first, np.inf, data.end_s[first]), 0.0)
            waits_s[leaving] = data.end_s[place] - rest_s[leaving] + more
        return self._exact(devices, now_s, waits_s, False)

    def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds after which they are available, [n]; 0 where they are, infinite where they never will be."""
        there, place, rest_s = self._find(devices, now_s)
        waits_s, coming = np.zeros(len(devices)), np.flatnonzero(~there)
        if len(coming):
            data, own, place = self.intervals, self.recording[devices[coming]], place[coming] + 1
            first, end = data.offsets[own], data.offsets[own + 1]
            starts_s = np.append(data.start_s, np.inf)
            soon = np.where(place < end, starts_s[place], starts_s[first] + data.period_s[own])
            waits_s[coming] = np.where(first < end, soon, np.inf) - rest_s[coming]
        return self._exact(devices, now_s, waits_s, True)

    def _exact(self, devices: IntArray, now_s: float | FloatArray, waits_s: FloatArray, there: bool) -> FloatArray:
        """Waits that lead to this state; they were right but for rounding."""
        waiting = np.flatnonzero((waits_s > 0) & np.isfinite(waits_s))
        start_s = np.broadcast_to(np.asarray(now_s, np.float64), devices.shape)[waiting]
        then_s = start_s + waits_s[waiting]
        for _ in range(4):
            wrong = self.at(devices[waiting], then_s) != there
            then_s = np.where(wrong, np.nextafter(then_s, np.inf), then_s)
        waits_s[waiting] = span_s(start_s, then_s)
        return waits_s

    def _find(self, devices: IntArray, now_s: float | FloatArray) -> tuple[BoolArray, IntArray, FloatArray]:
        """Whether available, the last interval that has begun (or the place before a recording's first), time in it."""
        data, own = self.intervals, self.recording[devices]
        rest_s = np.mod(np.broadcast_to(np.asarray(now_s, np.float64), devices.shape), data.period_s[own])
        low, high = data.offsets[own].copy(), data.offsets[own + 1].copy()
        # A binary search for all devices at once: the first interval that begins later.
        starts_s = np.append(data.start_s, np.inf)
        while (low < high).any():
            middle = (low + high) // 2
            begun = (low < high) & (starts_s[middle] <= rest_s)
            low, high = np.where(begun, middle + 1, low), np.where(begun, high, middle)
        place = low - 1
        ends_s = np.append(data.end_s, -np.inf)
        return (place >= data.offsets[own]) & (rest_s < ends_s[place]), place, rest_s
