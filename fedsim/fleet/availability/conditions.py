"""Availability under several conditions at once, say charging and on Wi-Fi, each with times of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.availability.base import Availability, BoolArray, FloatArray


@dataclass(frozen=True)
class AllOf:
    """Available while all of these are."""

    conditions: Sequence[Availability]
    most_changes: int = 1000
    """After so many changes `after` looks no further ahead: what has not met by then counts as never meeting."""

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("there must be at least one condition")

    def at(self, devices: IntArray, now_s: float | FloatArray) -> BoolArray:
        """Whether all conditions hold, [n]."""
        hold: BoolArray = np.all([condition.at(devices, now_s) for condition in self.conditions], axis=0)
        return hold

    def until(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds until the first condition ends, [n]."""
        waits_s: FloatArray = np.min([condition.until(devices, now_s) for condition in self.conditions], axis=0)
        return waits_s

    def after(self, devices: IntArray, now_s: float | FloatArray) -> FloatArray:
        """Seconds after which all conditions hold together, [n]; infinite where it finds no such time."""
        start_s = np.broadcast_to(np.asarray(now_s, np.float64), devices.shape)
        times_s = start_s.copy()
        left = np.arange(len(devices))
        for _ in range(self.most_changes):
            waits_s = np.max([part.after(devices[left], times_s[left]) for part in self.conditions], axis=0)
            times_s[left] += waits_s
            left = left[(waits_s > 0) & np.isfinite(waits_s)]
            if not len(left):
                break
        times_s[left] = np.inf
        waited: FloatArray = times_s - start_s
        return waited
