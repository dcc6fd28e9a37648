"""Latencies that differ from transfer to transfer."""

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray


def latencies_s(
    latency_s: FloatArray, sigma: float, devices: IntArray, seed: int, *turn: str | int
) -> tuple[FloatArray, FloatArray]:
    """Latencies of a trip's download and upload, [n] each: log-normal around the device's own, which is the median.

    Args:
        latency_s: The device's own, [n].
        sigma: Standard deviation of the logarithm.
        devices: Numbers of the devices, distinct, [n].
        seed: The scenario's seed.
        turn: What the trips belong to, e.g. the phase and the round. The same device in the same turn has the same
            latencies, whoever else takes part.

    Raises:
        ValueError: `sigma` is below 0 or not finite.
    """
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma is {sigma:g}, it must be a number from 0 on")
    first, second, *_ = rng.field(seed, "latency", *turn).at(devices)
    # Two independent normal numbers out of two uniform ones (Box and Muller 1958).
    radius, angle = sigma * np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    return latency_s * np.exp(radius * np.cos(angle)), latency_s * np.exp(radius * np.sin(angle))
