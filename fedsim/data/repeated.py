"""Dealing a corpus again and again, to fleets that are larger than it.

Shards are numbers of samples, four bytes each: a million clients with sixteen of them cost 64 MB, whatever the text.
"""

import numpy as np

from fedsim.data.shards import Codes, Counts, Shards, offsets
from fedsim.errors import UserError
from fedsim.scenario.data import RepeatedPartition

_PIECE = 2**20
"""Entries that are sorted at once."""


def deal(
    spec: RepeatedPartition, samples: Counts, n_clients: int, max_samples: int, draw: np.random.Generator
) -> Shards:
    """Shards of consecutive entries of the corpus in one random order after the other.

    Args:
        spec: How many samples clients have.
        samples: Training sample indices, ascending.
        n_clients: Shards wanted.
        max_samples: Most samples of a client; 0: no limit.
        draw: The stream that draws.

    Raises:
        UserError: Somebody would have to have a sample twice.
    """
    if spec.samples > len(samples):
        raise UserError(
            f"is {spec.samples}, the corpus has {len(samples)} training samples: no client has one of them twice",
            key="data.partition.samples",
        )
    most = min(len(samples), max_samples or len(samples))
    sizes = np.full(n_clients, spec.samples)
    if spec.sigma is not None:
        sizes = np.floor(spec.samples * np.exp(spec.sigma * draw.standard_normal(n_clients)) + 0.5).astype(np.int64)
    ends = offsets(np.clip(sizes, spec.min_samples, most))
    dealt = _dealt(ends, len(samples), draw)
    _sort(dealt, ends, len(samples))
    return Shards(samples.astype(np.int32)[dealt], ends)


def _dealt(ends: Counts, corpus: int, draw: np.random.Generator) -> Codes:
    """Places within the corpus for all clients, one order after the other; [sum of sizes]."""
    dealt = np.empty(ends[-1], np.int32)
    for start in range(0, len(dealt), corpus):
        order = draw.permutation(corpus)
        # who is at the seam of two orders has the end of the first: what is in it comes last in the second
        begun = dealt[ends[np.searchsorted(ends, start, side="right") - 1] : start]
        if len(begun):
            taken = np.isin(order, begun)
            order = np.concatenate((order[~taken], order[taken]))
        dealt[start : start + corpus] = order[: len(dealt) - start]
    return dealt


def _sort(dealt: Codes, ends: Counts, corpus: int) -> None:
    """Every client's entries in ascending order, in place."""
    client = 0
    while client < len(ends) - 1:
        stop = max(client + 1, int(np.searchsorted(ends, ends[client] + _PIECE, side="right")) - 1)
        part = slice(int(ends[client]), int(ends[stop]))
        base = np.repeat(np.arange(stop - client) * corpus, np.diff(ends[client : stop + 1]))
        dealt[part] = np.sort(base + dealt[part]) - base
        client = stop
