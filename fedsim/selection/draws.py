"""Drawing clients without replacement, at a cost that follows the cohort and not the fleet.

Numbers are drawn with replacement, and those that came before are passed over: what is left is in the order of a draw
without replacement. Nobody is asked whether they are able before they are drawn, so that out of ten million clients
only some hundreds are ever looked at. Where few are left to find, the rest of the fleet is put in order in one go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fedsim.data.work import IntArray

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Able = Callable[[IntArray], BoolArray]
"""Which of these clients, [n], may be picked."""


@dataclass(frozen=True, eq=False)
class Weights:
    """How likely clients are to be drawn, in a form in which drawing is quick."""

    cumulative: FloatArray
    """[clients]"""

    @classmethod
    def of(cls, weights: npt.NDArray[np.floating] | IntArray) -> Self:
        """From weights that need not sum to 1, [clients].

        Raises:
            ValueError: A weight is below 0 or not a number, or none is above 0.
        """
        if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
            raise ValueError("weights must be numbers from 0 on, and one of them above 0")
        return cls(np.cumsum(weights, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.cumulative)

    def draw(self, draw: np.random.Generator, count: int) -> IntArray:
        """So many clients, with replacement."""
        points = draw.random(count) * self.cumulative[-1]
        drawn: IntArray = np.searchsorted(self.cumulative, points, side="right").astype(np.int64)
        return drawn

    def order(self, draw: np.random.Generator, clients: IntArray) -> IntArray:
        """These clients in the order in which a draw without replacement gives them; those of weight 0 never come.

        By the keys of Efraimidis and Spirakis (2006, "Weighted random sampling with a reservoir"), as waiting times.
        """
        own = np.diff(self.cumulative, prepend=0.0)[clients]
        clients, own = clients[own > 0], own[own > 0]
        waits: FloatArray = draw.standard_exponential(len(clients)) / own
        return clients[np.argsort(waits, kind="stable")]


def uniform(draw: np.random.Generator, clients: int, wanted: int, able: Able | None = None) -> IntArray:
    """Distinct clients, each set of able ones equally likely; in the order of drawing, [wanted] or fewer.

    Args:
        draw: A random stream.
        clients: They are numbered from 0 on.
        wanted: How many to pick; fewer are picked where fewer are able.
        able: Who may be picked; None: everybody.
    """
    if able is None:
        return draw.choice(clients, min(wanted, clients), replace=False).astype(np.int64)
    return _search(
        lambda count: draw.integers(clients, size=count),
        lambda rest: draw.permutation(rest),
        clients, wanted, able,
    )  # fmt: skip


def weighted(draw: np.random.Generator, weights: Weights, wanted: int, able: Able | None = None) -> IntArray:
    """Distinct clients, drawn one after the other in proportion to their weights, [wanted] or fewer.

    Args:
        draw: A random stream.
        weights: Of all clients.
        wanted: How many to pick; fewer are picked where fewer are able and have a weight above 0.
        able: Who may be picked; None: everybody.
    """
    return _search(
        lambda count: weights.draw(draw, count),
        lambda rest: weights.order(draw, rest),
        len(weights), wanted, able or (lambda some: np.ones(len(some), np.bool_)),
    )  # fmt: skip


def _search(
    some: Callable[[int], IntArray], ordered: Callable[[IntArray], IntArray], clients: int, wanted: int, able: Able
) -> IntArray:
    """Look at clients in the order of a draw without replacement until enough able ones are found."""
    seen, picked = np.zeros(0, np.int64), np.zeros(0, np.int64)
    batch = 2 * wanted + 16
    while len(picked) < wanted:
        drawn = some(batch)
        _, first = np.unique(drawn, return_index=True)
        fresh = drawn[np.sort(first)]
        fresh = fresh[~np.isin(fresh, seen)]
        seen = np.concatenate([seen, fresh])
        picked = np.concatenate([picked, fresh[able(fresh)]])
        if 4 * len(fresh) < batch:
            rest = ordered(np.setdiff1d(np.arange(clients), seen, assume_unique=True))
            return np.concatenate([picked, first_able(rest, wanted - len(picked), able)])[:wanted]
        batch *= 2
    return picked[:wanted]


def first_able(clients: IntArray, wanted: int, able: Able) -> IntArray:
    """The first able ones of a list, [wanted] or fewer; no more of them are asked than must be."""
    picked, start, batch = [np.zeros(0, np.int64)], 0, max(wanted, 256)
    missing = wanted
    while missing > 0 and start < len(clients):
        some = clients[start : start + batch]
        found = some[able(some)][:missing]
        picked.append(found)
        missing, start, batch = missing - len(found), start + batch, 2 * batch
    return np.concatenate(picked)
