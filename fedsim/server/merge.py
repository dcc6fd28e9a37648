"""The weighted mean of the clients' groups, from block sums, in an order that hosts cannot change.

Where local layers are narrower than global ones, the mean of every single entry is over the clients that hold it, and
an entry that nobody held keeps its value (Diao et al. 2021).
"""

from collections.abc import Mapping

import numpy as np

from fedsim.model.layout import FloatArray, Groups
from fedsim.model.width import Window
from fedsim.plan import layer_index

Holders = Mapping[str, Mapping[Window | None, float]]
"""For each group and each part of it that clients hold (None: all of it), the sum of their shares."""


class Merge:
    """Adds block sums in block order, whatever the order of arrival; holds back those that come early."""

    def __init__(self, before: Groups | None = None, changes: bool = False) -> None:
        """How to read what is summed.

        Args:
            before: the groups before the round; they matter where somebody holds a part of one, and for changes.
            changes: clients sent how their weights changed; the mean change is added to the groups as they were.
        """
        self._before, self._changes = before or {}, changes
        self._early: dict[int, tuple[Mapping[str, FloatArray], Window | None]] = {}
        self._next = 0
        self._sums: dict[str, FloatArray] = {}

    def add(self, index: int, sums: Mapping[str, FloatArray], window: Window | None = None) -> None:
        """Take the sums of a block, whose layers hold what is in `window` of the global ones."""
        self._early[index] = sums, window
        while self._next in self._early:
            sums, window = self._early.pop(self._next)
            for name, values in sums.items():
                place = layer_index(name)
                if window is not None and place is not None:
                    total = self._sums.setdefault(name, np.zeros_like(self._before[name]))
                    total[window.entries(place)] += values
                elif name in self._sums:
                    self._sums[name] += values
                else:
                    # a copy: what comes from an object store is read-only and would keep the store's memory
                    self._sums[name] = np.array(values)
            self._next += 1

    def means(self, lost: Mapping[str, float], holders: Holders | None = None) -> dict[str, FloatArray]:
        """The mean of each group that somebody sent.

        Args:
            lost: sum of the shares that did not arrive, for each group: clients that failed or were rejected.
            holders: shares of those that did; they matter for groups that somebody holds a part of.

        Raises:
            ValueError: a block is missing.
        """
        if self._early:
            raise ValueError(f"block {self._next} is missing")
        means = {}
        for name, total in self._sums.items():
            parts, place = (holders or {}).get(name, {}), layer_index(name)
            if place is not None and any(part is not None for part in parts):
                unheld = np.float32(0.0) if self._changes else self._before[name]
                means[name] = _entrywise(total, unheld, parts, place)
            else:
                means[name] = total / np.float32(1.0 - lost[name]) if lost.get(name) else total
        if self._changes:
            return {name: self._before[name] + change for name, change in means.items()}
        return means


def _entrywise(
    total: FloatArray, unheld: FloatArray | np.float32, parts: Mapping[Window | None, float], index: int
) -> FloatArray:
    held = np.zeros(total.shape)
    for part, share in parts.items():
        held[slice(None) if part is None else part.entries(index)] += share
    # shares of everybody add up to one but for rounding in float64, which float32 does not see
    mean: FloatArray = np.where(held > 0, total / np.where(held > 0, held, 1.0).astype(np.float32), unheld)
    return mean
