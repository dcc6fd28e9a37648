"""What time of day it is where a device lives, and whether it is night there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.fleet.availability.base import BoolArray, FloatArray
from fedsim.fleet.deal import largest_remainder

DAY_S = 86_400.0


@dataclass(frozen=True, eq=False)
class LocalTime:
    """Local time and night of each device."""

    offset_s: FloatArray
    """Local time of day at time 0, [devices]."""
    night_from_s: float = 0.0
    """Local time of day at which the night begins."""
    night_s: float = 0.0
    """How long it lasts, up to a day."""

    def __post_init__(self) -> None:
        if not 0 <= self.night_s <= DAY_S:
            raise ValueError(f"a night of {self.night_s:g} s: it lasts from 0 to {DAY_S:g} s")

    def since_dusk_s(self, devices: IntArray, times_s: float | FloatArray) -> FloatArray:
        """Seconds since a certain beginning of a night, the same for all times; negative before it. Shape [n]."""
        return self.dusk_s(devices) + times_s

    def dusk_s(self, devices: IntArray) -> FloatArray:
        """How long before time 0 that beginning of a night was, [n]."""
        return self.offset_s[devices] - self.night_from_s

    def is_night(self, devices: IntArray, times_s: float | FloatArray) -> BoolArray:
        """Whether it is night where these devices are, [n]."""
        return np.mod(self.since_dusk_s(devices, times_s), DAY_S) < self.night_s


def local_offsets_s(zones: Mapping[float, float], clients: int, starts_utc_s: float, seed: int) -> FloatArray:
    """Local time of day of each device at time 0, [clients].

    Args:
        zones: Shares of the fleet by offset from UTC in seconds; they are met exactly (largest remainder).
        clients: Number of devices.
        starts_utc_s: Time of day, UTC, at time 0.
        seed: The scenario's seed decides who lives where.
    """
    offsets = sorted(zones)
    counts = largest_remainder(np.array([zones[offset] for offset in offsets], np.float64), clients)
    local = np.repeat(np.array(offsets, np.float64) + starts_utc_s, counts)
    rng.stream(seed, "fleet", "zone").shuffle(local)
    return np.mod(local, DAY_S)
