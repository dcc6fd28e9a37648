"""Batches of several clients as one."""

from collections.abc import Sequence

import numpy as np

from fedsim.data.objective import IGNORED, NumpyBatch, widened


def stack(batches: Sequence[NumpyBatch]) -> NumpyBatch:
    """One batch of all their samples, client by client, as many of each: [C * B, L].

    Samples, tokens and positions that a client has fewer of than another are made up and have no target.
    """
    samples, width = (max(batch.ids.shape[axis] for batch in batches) for axis in (0, 1))
    own = [batch if batch.ids.shape[1] == width else widened(batch, width, 0) for batch in batches]
    each = len(own[0].targets) // len(own[0].ids)
    chosen = own[0].positions is not None
    predicted = max(len(batch.targets) for batch in own) if chosen else samples * each
    ids = np.zeros((len(own), samples, width), np.int64)
    # who attends to nothing has no mean to take: a sample that is made up has one token
    lengths = np.ones((len(own), samples), np.int64)
    positions = np.zeros((len(own), predicted), np.int64)
    targets = np.full((len(own), predicted), IGNORED, np.int64)
    for client, batch in enumerate(own):
        ids[client, : len(batch.ids)] = batch.ids
        lengths[client, : len(batch.lengths)] = batch.lengths
        targets[client, : len(batch.targets)] = batch.targets
        if batch.positions is not None:
            positions[client, : len(batch.positions)] = batch.positions
    positions += samples * width * np.arange(len(own))[:, None]
    return NumpyBatch(ids.reshape(-1, width), lengths.ravel(), positions.ravel() if chosen else None, targets.ravel())
