"""What crosses the network: raw float32 values of the groups of a plan, in plan order.

Both ends know the plan, so neither names nor shapes travel: a payload is exactly as long as its numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fedsim.model.layout import FloatArray


def encode(groups: Sequence[FloatArray]) -> bytes:
    """The payload of these groups, little-endian."""
    return b"".join(np.ascontiguousarray(group, "<f4").tobytes() for group in groups)


def decode(payload: bytes, sizes: Mapping[str, int]) -> dict[str, FloatArray]:
    """The groups of a payload.

    Raises:
        ValueError: the payload is not as long as the groups are.
    """
    values = np.frombuffer(payload, "<f4")
    if len(values) != sum(sizes.values()):
        raise ValueError(f"payload holds {len(values)} values, the plan's groups have {sum(sizes.values())}")
    pieces = np.split(values, np.cumsum(list(sizes.values()))[:-1])
    return dict(zip(sizes, pieces, strict=True))
