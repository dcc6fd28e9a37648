"""Sending a random part of a vector: the seed of the mask travels, both ends draw the same mask from it.

A fixed number of entries is drawn without replacement, and scaled up by the inverse of its share, so that what is
decoded is right in the mean.
"""

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.model.layout import FloatArray

SEED_BYTES = 8


def count(size: int, share: float) -> int:
    """Entries that are sent of `size`: the share of them, rounded, at least one."""
    return max(1, round(share * size))


def new_seed(draw: np.random.Generator) -> bytes:
    """A seed as it is sent."""
    return draw.bytes(SEED_BYTES)


def entries(seed: bytes, size: int, count: int) -> IntArray:
    """The entries that a seed stands for, ascending, [count]."""
    draw = rng.stream(int.from_bytes(seed, "little"), "mask")
    return np.sort(draw.choice(size, count, replace=False, shuffle=False))


def spread(values: FloatArray, entries: IntArray, size: int) -> FloatArray:
    """A vector of shape [size] with the values, scaled up, at their entries, and zeros elsewhere."""
    flat = np.zeros(size, np.float32)
    flat[entries] = values * np.float32(size / len(entries))
    return flat
