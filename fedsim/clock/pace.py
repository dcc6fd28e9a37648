"""Devices that do not always compute at the same speed: backward is slower than forward, and heat slows both down.

A FLOP of the backward pass may take longer than one of the forward pass, for it moves more memory. And a phone under
load becomes warm: for some time it computes at full speed, then at a share of it. Every trip begins with a cool device.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.devices import Fleet, FloatArray


@dataclass(frozen=True, eq=False)
class Pace:
    """How fast devices compute; every array has shape [devices]."""

    flops_per_s: FloatArray
    """Forward, while the device is cool."""
    backward: FloatArray
    """Speed of the backward pass, as a share of that of the forward pass."""
    cool_s: FloatArray
    """Seconds of computing after which the device is hot; infinite: never."""
    hot: FloatArray
    """Its speed then, as a share of that of a cool device."""

    def __post_init__(self) -> None:
        rates = (self.flops_per_s, self.backward, self.hot)
        if not all((np.isfinite(rate) & (rate > 0)).all() for rate in rates) or not (self.cool_s >= 0).all():
            raise ValueError("speeds must be finite and above 0, and times must be numbers from 0 on")

    @classmethod
    def of(cls, fleet: Fleet) -> Self:
        """Of these devices."""

        def column(values: FloatArray | float) -> FloatArray:
            return np.broadcast_to(values, len(fleet))

        return cls(fleet.flops_per_s, column(fleet.backward_speed), column(fleet.cool_s), column(fleet.hot_speed))

    def seconds(self, flops_forward: IntArray, flops_backward: IntArray) -> FloatArray:
        """Time that these FLOPs take, [devices]."""
        cool_s = self._cool_seconds(flops_forward, flops_backward)
        seconds: FloatArray = np.minimum(cool_s, self.cool_s) + np.maximum(cool_s - self.cool_s, 0.0) / self.hot
        return seconds

    def done(self, flops_forward: IntArray, flops_backward: IntArray, spent_s: FloatArray) -> tuple[IntArray, IntArray]:
        """FLOPs of these that are done after a part of the time, forward and backward, [devices] each.

        Both advance in proportion, since a training step has both; they are rounded down, and are all there once the
        time that `seconds` gives is over.
        """
        needed_s = self.seconds(flops_forward, flops_backward)
        whole_s = self._cool_seconds(flops_forward, flops_backward)
        reached_s = np.minimum(spent_s, self.cool_s) + np.maximum(spent_s - self.cool_s, 0.0) * self.hot

        def part(flops: IntArray) -> IntArray:
            # Multiplied before divided: a third of 3 must not become 0.999.
            share = np.divide(flops * reached_s, whole_s, out=np.zeros(len(flops)), where=whole_s > 0)
            return np.where(spent_s >= needed_s, flops, np.minimum(flops, np.floor(share).astype(np.int64)))

        return part(flops_forward), part(flops_backward)

    def _cool_seconds(self, flops_forward: IntArray, flops_backward: IntArray) -> FloatArray:
        """Time that these FLOPs would take if the device stayed cool, [devices]."""
        seconds: FloatArray = (flops_forward + flops_backward / self.backward) / self.flops_per_s
        return seconds
