"""How a group's float32 vector travels: as floats, as integers of a few bits, as a random part of it, or both.

A payload is, in this order and without any framing: the seed of the mask (8 bytes, where there is one), the scales of
the integers (float32), and the values. Both ends know plan and codec, so neither names nor shapes nor indices travel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, Strict

from fedsim.model.layout import FloatArray, Layout
from fedsim.scenario.base import Config, Problem
from fedsim.wire import floats, integers, mask
from fedsim.wire.integers import Grid


class Codec(Config):
    """How the numbers of a group are sent."""

    bits: Literal[32, 16, 8, 4, 2] = 32
    """Bits of a number: 32 and 16 are floats, fewer are integers."""
    half: Literal["float16", "bfloat16"] = "float16"
    """Which 16 bits: float16 has the finer steps, bfloat16 the range of float32."""
    scheme: Literal["tensor", "row", "affine"] = "tensor"
    """Integers: symmetric with a scale for each tensor or row, or (`affine`) from a tensor's minimum to its maximum."""
    rounding: Literal["nearest", "stochastic"] = "nearest"
    """Integers: to the nearest, or up or down at random so that the mean is right."""
    share: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] = 1.0
    """Send this share of the entries, drawn anew each time, and scale them up by its inverse; 1: all entries."""

    def problems(self) -> Iterator[Problem]:
        """Nothing is set that so many bits do not have."""
        if self.bits != 16 and self.changed("half"):
            yield Problem(("half",), f"goes with bits: 16, bits is {self.bits}")
        for name in ("scheme", "rounding"):
            if self.bits > 8 and self.changed(name):
                yield Problem((name,), f"goes with bits: 8, 4 or 2, bits is {self.bits}")

    @property
    def lossless(self) -> bool:
        """What is decoded is what was encoded, bit for bit."""
        return self.bits == 32 and self.share == 1.0

    def values(self, layout: Layout) -> int:
        """Numbers that are sent of a group."""
        return mask.count(layout.size, self.share)

    def payload_bytes(self, layout: Layout) -> int:
        """Length of a group's payload: what `encode` returns is exactly as long."""
        seed = mask.SEED_BYTES if self.share < 1.0 else 0
        scales = len(integers.runs(layout, self._by_row)) * Grid.run_bytes(self._affine) if self.bits <= 8 else 0
        return seed + scales + -(-self.values(layout) * self.bits // 8)

    def encode(self, flat: FloatArray, layout: Layout, draw: np.random.Generator) -> bytes:
        """The payload of a group.

        Args:
            flat: its vector, [layout.size].
            layout: where its tensors lie.
            draw: draws the mask and the stochastic rounding; not used without them.

        Raises:
            ValueError: a value is not finite, or too large for float16.
        """
        pieces: list[bytes] = []
        entries, chosen = None, flat
        if self.share < 1.0:
            seed = mask.new_seed(draw)
            pieces.append(seed)
            entries = mask.entries(seed, layout.size, self.values(layout))
            chosen = flat[entries]
        if self.bits > 8:
            pieces.append(floats.pack(chosen, self._format))
        else:
            grid = Grid.over(flat, integers.runs(layout, self._by_row), self.bits, self._affine)
            pieces.append(grid.to_bytes())
            stochastic = draw if self.rounding == "stochastic" else None
            pieces.append(integers.pack(grid.codes(chosen, entries, stochastic), self.bits))
        return b"".join(pieces)

    def decode(self, payload: bytes, layout: Layout) -> FloatArray:
        """The vector that a payload stands for, [layout.size]; entries that were not sent are 0.

        Raises:
            ValueError: the payload is not as long as it must be.
        """
        if len(payload) != self.payload_bytes(layout):
            raise ValueError(f"payload has {len(payload)} bytes, the group's has {self.payload_bytes(layout)}")
        entries, count, rest = None, self.values(layout), memoryview(payload)
        if self.share < 1.0:
            seed, rest = rest[: mask.SEED_BYTES], rest[mask.SEED_BYTES :]
            entries = mask.entries(bytes(seed), layout.size, count)
        if self.bits > 8:
            numbers = floats.unpack(rest, self._format)
        else:
            sizes = integers.runs(layout, self._by_row)
            end = len(sizes) * Grid.run_bytes(self._affine)
            grid = Grid.from_bytes(rest[:end], sizes, self.bits, self._affine)
            numbers = grid.values(integers.unpack(rest[end:], count, self.bits), entries)
        return numbers if entries is None else mask.spread(numbers, entries, layout.size)

    @property
    def _format(self) -> floats.Format:
        return "float32" if self.bits == 32 else self.half

    @property
    def _by_row(self) -> bool:
        return self.scheme == "row"

    @property
    def _affine(self) -> bool:
        return self.scheme == "affine"


PLAIN = Codec()
"""Raw float32."""


@dataclass(frozen=True)
class Wire:
    """How a method's groups travel, and what is sent up."""

    upload: Codec = PLAIN
    download: Codec = PLAIN
    delta: bool = False
    """Send up the change since the download; otherwise the weights themselves."""
