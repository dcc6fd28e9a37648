"""The shared link once more, written differently: small steps of time, and the level found by bisection."""

import numpy as np

from fedsim.clock.link import Flows
from fedsim.fleet.devices import FloatArray


def level(own: FloatArray, capacity: float) -> float:
    """The largest level at which flows with these bandwidths fit into the capacity."""
    low, high = 0.0, max(capacity, float(own.max()))
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(own, middle).sum() <= capacity else (low, middle)
    return high


def send_in_steps(flows: Flows, bits_per_s: float, step_s: float, until_s: float) -> tuple[FloatArray, FloatArray]:
    """When each flow ends (infinite: not by `until_s`), and the bits that have flowed; right to about a step."""
    left, end_s = flows.size_bits.copy(), np.full(len(flows.size_bits), np.inf)
    for step in range(round(until_s / step_s)):
        now_s = step * step_s
        open_ = (left > 0) & (flows.start_s <= now_s + step_s / 2) & (now_s < flows.gone_s)
        end_s[(left <= 0) & np.isinf(end_s)] = now_s
        if not open_.any():
            continue
        own = flows.own_bits_per_s[open_]
        left[open_] -= np.minimum(own, level(own, bits_per_s)) * step_s
    end_s[(left <= 0) & np.isinf(end_s)] = until_s
    end_s = np.where(flows.start_s < flows.gone_s, np.maximum(end_s, flows.start_s), np.inf)
    return end_s, flows.size_bits - np.maximum(left, 0.0)
