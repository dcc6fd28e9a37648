"""Batches of several clients as one."""

from collections.abc import Sequence

import numpy as np

from fedsim.data.objective import IGNORED, NumpyBatch, widened


def stack(batches: Sequence[NumpyBatch]) -> NumpyBatch:
    """One batch of all their samples, client by client, as many of each: [C * B, L].

    Samples, tokens and positions that a client has fewer of than another are made up and have no target.
    """
    samples, width = (max(batch.ids.shape[axis] for batch in batches) for axis in (0, 1))
    ids, lengths, positions, targets = [], [], [], []
    most = max(0 if batch.positions is None else len(batch.positions) for batch in batches)
    for client, batch in enumerate(widened(batch, width, 0) for batch in batches):
        missing = samples - len(batch.ids)
        ids.append(np.pad(batch.ids, ((0, missing), (0, 0))))
        # who attends to nothing has no mean to take: a sample that is made up has one token
        lengths.append(np.pad(batch.lengths, (0, missing), constant_values=1))
        if batch.positions is None:
            made_up = missing * (len(batch.targets) // len(batch.ids))
        else:
            made_up = most - len(batch.positions)
            positions.append(np.pad(batch.positions, (0, made_up)) + client * samples * width)
        targets.append(np.pad(batch.targets, (0, made_up), constant_values=IGNORED))
    chosen = np.concatenate(positions) if positions else None
    return NumpyBatch(np.concatenate(ids), np.concatenate(lengths), chosen, np.concatenate(targets))
