"""A narrower layer inside a wider one: which entries of a layer's vector it holds.

With fewer heads a layer has fewer rows of query, key and value, and fewer columns of the matrix behind them; with fewer
feed-forward units, fewer rows of the first matrix and columns of the second. All else is held whole. Reading such a
part is a gather at these entries, writing it back a scatter: no name or shape of a tensor is needed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from fedsim.data.work import IntArray
from fedsim.model.architecture import Architecture
from fedsim.model.layout import Axis, layer_axes, layer_layout
from fedsim.plan import Width


@dataclass(frozen=True)
class Window:
    """The heads and feed-forward units of every global layer that a narrower local model holds in one round.

    As many of them as `rate` gives, in a row from `first_head` and `first_unit` on; the row goes on at the beginning
    where a layer ends. They keep the global model's order, so that a window over everything changes nothing.
    """

    architecture: Architecture
    """Of the global model."""
    rate: float
    first_head: int = 0
    first_unit: int = 0

    @classmethod
    def of(cls, architecture: Architecture, width: Width, round_: int) -> Self | None:
        """What a plan of this width holds in a round of its phase; None: everything."""
        if width.rate == 1.0:
            return None
        rolls = width.roll_units > 0
        return cls(architecture, width.rate, round_ if rolls else 0, round_ * width.roll_units)

    def entries(self, index: int) -> IntArray:
        """Places in the vector of global layer `index` of all that the local layer holds, in its own order, [size].

        The array is kept for the next call: it must not be written to.
        """
        a, narrow = self.architecture, self.architecture.narrow(self.rate)
        heads = _row(a.heads_in(index), narrow.heads_in(index), self.first_head)
        units = _row(a.feed_forward, narrow.feed_forward, self.first_unit)
        alone = Architecture(
            a.family, 0, a.hidden, 1, a.heads, a.feed_forward, 0, 0.0, kept_heads=(tuple(range(a.heads_in(index))),)
        )
        return _cached(alone, heads, units)


Row = tuple[int, int, int]
"""Of so many, so many in a row, from this one on."""


def _row(count: int, kept: int, first: int) -> Row:
    return count, kept, first % count


def row(count: int, kept: int, first: int) -> IntArray:
    """`kept` numbers below `count` from `first` on, going on at 0, in ascending order."""
    return np.sort((first + np.arange(kept)) % count)


# rates and the present round's shift: layers of a kind share the array, which for a half of BERT-base's has 28 MB
@lru_cache(maxsize=8)
def _cached(architecture: Architecture, heads: Row, units: Row) -> IntArray:
    return layer_entries(architecture, 0, row(*heads), row(*units))


def layer_entries(architecture: Architecture, index: int, heads: IntArray, units: IntArray) -> IntArray:
    """Places in the vector of layer `index` of all that a layer with just these heads and units holds, in its order.

    Args:
        architecture: of the wider model.
        index: layer of the wider model.
        heads: heads held, ascending, [n].
        units: feed-forward units held, ascending, [m].
    """
    size = architecture.head_size
    held: dict[Axis, IntArray] = {
        "hidden": np.arange(architecture.hidden),
        "attention": (heads[:, None] * size + np.arange(size)).ravel(),
        "units": units,
    }
    layout, axes = layer_layout(architecture, index), layer_axes(architecture)
    places, start = [], 0
    for name, shape in layout.tensors:
        stop = start + int(np.prod(shape))
        tensor = np.arange(start, stop, dtype=np.int64).reshape(shape)
        places.append(tensor[np.ix_(*(held[axis] for axis in axes[name]))].ravel())
        start = stop
    return np.concatenate(places)
