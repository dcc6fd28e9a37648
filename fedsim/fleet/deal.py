"""Dealing classes, recordings and measured connections to clients."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from fedsim import rng
from fedsim.data.work import IntArray

FloatArray = npt.NDArray[np.float64]


def largest_remainder(shares: FloatArray, total: int) -> IntArray:
    """Whole counts in proportion to `shares` [classes] that sum to `total`; each is off by less than one."""
    # Divided by the largest first: the sum of very large shares would overflow.
    shares = shares / shares.max()
    quotas = shares / shares.sum() * total
    counts: IntArray = np.floor(quotas).astype(np.int64)
    rest = total - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:rest]] += 1
    return counts


def deal(what: str, how: Literal["listed", "random"], things: int, clients: int, seed: int) -> IntArray:
    """Which of so many things each client has, [clients]; each is used about equally often.

    Args:
        what: Names the random stream.
        how: `listed`: client i has thing i, and from the first again where they are used up; `random`: the same in an
            order drawn from the seed, anew each time they are used up.
        things: How many there are.
        clients: Number of clients.
        seed: The scenario's seed.
    """
    if how == "listed":
        return np.arange(clients, dtype=np.int64) % things
    draw = rng.stream(seed, "fleet", what)
    turns = [draw.permutation(things) for _ in range(-(-clients // things))]
    return np.concatenate(turns)[:clients].astype(np.int64)
