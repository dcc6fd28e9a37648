"""Numbers as integers of 8, 4 or 2 bits on an even grid, and how such integers are packed into bytes.

Symmetric: step = max|x| / (2^(bits-1) - 1), code = round(x / step). Affine: step = (max - min) / (2^bits - 1),
code = round((x - min) / step). Rounded to the nearest, no value is further than step / 2 from what is decoded
(up to float32 rounding); rounded at random, no further than step, and right in the mean.
"""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Self

import numpy as np
import numpy.typing as npt

from fedsim.data.work import IntArray
from fedsim.model.layout import FloatArray, Layout

Codes = npt.NDArray[np.uint8]


@cache
def runs(layout: Layout, by_row: bool) -> IntArray:
    """Lengths of the runs of a group's vector that share a scale: its tensors, or their rows; a vector is one row."""
    sizes: list[int] = []
    for _, shape in layout.tensors:
        rows = shape[0] if by_row and len(shape) > 1 else 1
        sizes += [prod(shape) // rows] * rows
    found = np.array(sizes, np.int64)
    found.flags.writeable = False
    return found


@dataclass(frozen=True, eq=False)
class Grid:
    """What the integers mean: ``low + (code - zero) * step``, with a step (and a low) for each run."""

    sizes: IntArray
    """Length of each run, [runs]."""
    step: FloatArray
    low: FloatArray | None
    """None: 0, as in a symmetric grid."""
    bits: int

    @property
    def zero(self) -> int:
        """The code of `low`."""
        return (1 << (self.bits - 1)) - 1 if self.low is None else 0

    @property
    def top(self) -> int:
        """The largest code: a symmetric grid has as many steps below zero as above it."""
        return (1 << self.bits) - (2 if self.low is None else 1)

    @classmethod
    def over(cls, flat: FloatArray, sizes: IntArray, bits: int, affine: bool) -> Self:
        """The grid that spans each run of a vector.

        Raises:
            ValueError: a value is not finite, or a run too wide for float32.
        """
        starts = np.cumsum(sizes) - sizes
        with np.errstate(over="ignore", invalid="ignore"):
            highest, lowest = np.maximum.reduceat(flat, starts), np.minimum.reduceat(flat, starts)
            spans = highest - lowest if affine else np.maximum(highest, -lowest)
            step = (spans / np.float32((1 << bits) - 1 if affine else (1 << (bits - 1)) - 1)).astype(np.float32)
        if not np.isfinite(step).all():
            raise ValueError("values are not finite, or too far apart for float32")
        return cls(sizes, step, lowest if affine else None, bits)

    def codes(self, values: FloatArray, entries: IntArray | None, draw: np.random.Generator | None) -> Codes:
        """The codes of the vector's values (or of those at `entries`), [n]; `draw` rounds at random."""
        # a run of equal values has no step, and needs none
        step = self._of_each(np.where(self.step > 0, self.step, np.float32(1)), entries)
        places = (values if self.low is None else values - self._of_each(self.low, entries)) / step
        places += np.float32(self.zero)
        whole = np.rint(places) if draw is None else np.floor(places + draw.random(len(places), np.float32))
        codes: Codes = np.clip(whole, 0, self.top).astype(np.uint8)
        return codes

    def values(self, codes: Codes, entries: IntArray | None) -> FloatArray:
        """What the codes of the vector's values (or of those at `entries`) stand for, float32 [n]."""
        values = (codes.astype(np.float32) - np.float32(self.zero)) * self._of_each(self.step, entries)
        return values if self.low is None else values + self._of_each(self.low, entries)

    def _of_each(self, of_run: FloatArray, entries: IntArray | None) -> FloatArray:
        if entries is None:
            return np.repeat(of_run, self.sizes)
        return of_run[np.searchsorted(np.cumsum(self.sizes), entries, side="right")]

    @staticmethod
    def run_bytes(affine: bool) -> int:
        """Bytes of a run's scale: the step, and for affine grids the minimum."""
        return 8 if affine else 4

    def to_bytes(self) -> bytes:
        """The scales."""
        return b"".join(part.astype("<f4").tobytes() for part in (self.step, self.low) if part is not None)

    @classmethod
    def from_bytes(cls, payload: memoryview, sizes: IntArray, bits: int, affine: bool) -> Self:
        """The grid whose scales these are."""
        scales = np.frombuffer(payload, "<f4").astype(np.float32)
        return cls(sizes, scales[: len(sizes)], scales[len(sizes) :] if affine else None, bits)


def pack(codes: Codes, bits: int) -> bytes:
    """Several codes a byte, the first in the lowest bits; the last byte is filled with zeros."""
    slots = 8 // bits
    padded = np.zeros(-(-len(codes) // slots) * slots, np.uint8)
    padded[: len(codes)] = codes
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    packed: Codes = np.bitwise_or.reduce(padded.reshape(-1, slots) << shifts, axis=1)
    return packed.tobytes()


def unpack(payload: bytes | memoryview, count: int, bits: int) -> Codes:
    """The first `count` codes of `pack`."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: Codes = (np.frombuffer(payload, np.uint8)[:, None] >> shifts) & np.uint8(2**bits - 1)
    return codes.reshape(-1)[:count]
