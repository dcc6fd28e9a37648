"""The weighted mean of the clients' groups, from block sums, in an order that hosts cannot change."""

from collections.abc import Mapping

import numpy as np

from fedsim.model.layout import FloatArray


class Merge:
    """Adds block sums in block order, whatever the order of arrival; holds back those that come early."""

    def __init__(self) -> None:
        self._early: dict[int, Mapping[str, FloatArray]] = {}
        self._next = 0
        self._sums: dict[str, FloatArray] = {}

    def add(self, index: int, sums: Mapping[str, FloatArray]) -> None:
        """Take the sums of a block."""
        self._early[index] = sums
        while self._next in self._early:
            for name, values in self._early.pop(self._next).items():
                if name in self._sums:
                    self._sums[name] += values
                else:
                    # a copy: what comes from an object store is read-only and would keep the store's memory
                    self._sums[name] = np.array(values)
            self._next += 1

    def means(self, lost: Mapping[str, float]) -> dict[str, FloatArray]:
        """The mean of each group that somebody sent.

        Args:
            lost: sum of the shares that did not arrive, for each group: clients that failed or were rejected.

        Raises:
            ValueError: a block is missing.
        """
        if self._early:
            raise ValueError(f"block {self._next} is missing")
        return {
            name: total / np.float32(1.0 - lost[name]) if lost.get(name) else total
            for name, total in self._sums.items()
        }
