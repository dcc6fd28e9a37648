"""Batches of several clients as one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.objective import IGNORED, NumpyBatch
from fedsim.data.stacked import stack

SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4)


def numbered(kind: str, samples: int, width: int, predicted: int, first: int) -> NumpyBatch:
    ids = first + np.arange(samples * width).reshape(samples, width)
    lengths = np.full(samples, width)
    if kind == "samples":
        return NumpyBatch(ids, lengths, None, ids[:, 0].copy())
    if kind == "tokens":
        return NumpyBatch(ids, lengths, None, ids.ravel().copy())
    chosen = np.arange(min(predicted, ids.size))[::-1].copy()
    return NumpyBatch(ids, lengths, chosen, ids.ravel()[chosen])


@given(SIZES, st.sampled_from(["samples", "tokens", "positions"]))
def test_every_target_stands_where_its_token_stands(sizes: list[tuple[int, int, int]], kind: str) -> None:
    if kind == "tokens":  # a target a token and a target a sample look alike where samples have one token
        sizes = [(samples, width + 1, predicted) for samples, width, predicted in sizes]
    batches = [numbered(kind, *size, first=100 * i) for i, size in enumerate(sizes)]
    found = stack(batches)
    clients, width = len(batches), max(width for _, width, _ in sizes)
    assert found.ids.shape == (clients * max(samples for samples, _, _ in sizes), width)
    rows = found.ids.reshape(clients, -1, width)
    lengths, targets = found.lengths.reshape(clients, -1), found.targets.reshape(clients, -1)
    if kind == "samples":
        seen = rows[:, :, 0]
    elif kind == "tokens":
        seen = rows.reshape(clients, -1)
    else:
        assert found.positions is not None
        seen = found.ids.ravel()[found.positions].reshape(clients, -1)
        assert (found.positions.reshape(clients, -1) // (rows[0].size) == np.arange(clients)[:, None]).all()
    for client, batch in enumerate(batches):
        samples, own = batch.ids.shape
        assert (rows[client, :samples, :own] == batch.ids).all()
        assert (lengths[client] == [*batch.lengths, *[1] * (rows.shape[1] - samples)]).all()
        real = targets[client] != IGNORED
        assert (targets[client][real] == seen[client][real]).all()
        assert sorted(targets[client][real]) == sorted(batch.targets)
