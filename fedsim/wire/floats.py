"""Numbers as floats of 32 or 16 bits, little-endian."""

from typing import Literal

import numpy as np

from fedsim.model.layout import FloatArray

Format = Literal["float32", "float16", "bfloat16"]


def pack(values: FloatArray, format: Format) -> bytes:
    """Round to the nearest (ties to even) and serialise.

    Raises:
        ValueError: a value of 16 bits is not finite, or becomes so.
    """
    if format == "float32":
        return np.ascontiguousarray(values, "<f4").tobytes()
    if format == "float16":
        with np.errstate(over="ignore"):
            halves = values.astype("<f2")
        if not np.isfinite(halves).all():
            raise ValueError(f"values up to {np.abs(values).max():g} do not fit into float16: use bfloat16")
        return halves.tobytes()
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    half = np.uint32(16)
    # the upper half of float32: add half of the last place that stays (a bit less where that is even), and cut
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> half) & np.uint32(1))) >> half
    if ((rounded & 0x7F80) == 0x7F80).any():
        raise ValueError(f"values up to {np.abs(values).max():g} do not fit into bfloat16")
    return rounded.astype("<u2").tobytes()


def unpack(payload: bytes | memoryview, format: Format) -> FloatArray:
    """The float32 values of `pack`."""
    if format == "float32":
        return np.frombuffer(payload, "<f4").astype(np.float32)
    if format == "float16":
        return np.frombuffer(payload, "<f2").astype(np.float32)
    return (np.frombuffer(payload, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
