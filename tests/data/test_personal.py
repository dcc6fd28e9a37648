from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.personal import hold_out, majority, pick_clients
from fedsim.data.shards import Shards, offsets


def shards(sizes: list[int]) -> Shards:
    """Clients of these sizes; sample numbers are not in order over clients."""
    indices = np.arange(sum(sizes), dtype=np.int32)[::-1].copy()
    bounds = offsets(np.array(sizes, np.int64))
    for start, stop in pairwise(bounds):
        indices[start:stop].sort()
    return Shards(indices, bounds)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_both_parts_together_are_the_shard(sizes: list[int], fraction: float) -> None:
    whole = shards(sizes)
    train, held = hold_out(whole, fraction, 3)
    assert (len(train), len(held)) == (len(whole), len(whole))
    for client, size in enumerate(sizes):
        assert sorted([*train[client], *held[client]]) == list(whole[client])
        assert list(train[client]) == sorted(train[client])
        assert list(held[client]) == sorted(held[client])
        wanted = min(max(int(np.floor(fraction * size + 0.5)), 1), size - 1) if size > 1 else 0
        assert len(held[client]) == wanted


def test_the_seed_alone_decides() -> None:
    whole = shards([30, 2, 1, 0, 50])
    first, again, other = (hold_out(whole, 0.2, seed)[1] for seed in (1, 1, 2))
    assert list(first.indices) == list(again.indices)
    assert list(first.indices) != list(other.indices)
    assert list(first.sizes) == [6, 1, 0, 0, 10]


def test_samples_are_drawn_evenly() -> None:
    """Every sample is held out equally often, whatever its place in the shard."""
    whole, times = shards([10, 5]), 2000
    counts = np.zeros(15)
    for seed in range(times):
        counts[hold_out(whole, 0.2, seed)[1].indices] += 1
    assert counts.sum() == 3 * times
    assert np.abs(counts / times - 0.2).max() < 5 * (0.2 * 0.8 / times) ** 0.5


def test_clients_that_are_tested() -> None:
    held = Shards(np.arange(6, dtype=np.int32), offsets(np.array([1, 0, 2, 1, 0, 2])))
    assert list(pick_clients(held, 0, 5)) == [0, 2, 3, 5]
    assert list(pick_clients(held, 4, 5)) == [0, 2, 3, 5]
    two = pick_clients(held, 2, 5)
    assert len(two) == 2
    assert set(two) < {0, 2, 3, 5}
    assert list(two) == sorted(pick_clients(held, 2, 5))
    assert len({tuple(pick_clients(held, 2, seed)) for seed in range(20)}) > 1


def test_majority_is_each_clients_own() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2, 0, 1])
    train = Shards(np.array([0, 1, 2, 3, 4], np.int32), np.array([0, 3, 5]))  # mostly 0; always 2
    held = Shards(np.array([6, 7, 5], np.int32), np.array([0, 2, 3]))  # 0 and 1; 2
    assert majority(labels, train, held, np.array([0, 1])) == pytest.approx((0.5 + 1.0) / 2)
    assert majority(labels, train, held, np.array([0])) == pytest.approx(0.5)
