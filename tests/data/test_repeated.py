import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data import repeated
from fedsim.data.partition import partition
from fedsim.data.shards import Shards
from fedsim.errors import UserError
from fedsim.rng import stream
from fedsim.scenario.data import RepeatedPartition


def deal(spec: RepeatedPartition, corpus: int, clients: int, max_samples: int = 0) -> Shards:
    return partition(
        spec,
        samples=np.arange(0, 3 * corpus, 3),
        client=None,
        clients=(),
        labels={},
        n_clients=clients,
        max_samples=max_samples,
        seed=4,
    )


@given(st.integers(1, 30), st.integers(1, 60), st.none() | st.floats(0.1, 2.0), st.integers(0, 12), st.data())
def test_nobody_has_a_sample_twice_and_all_are_as_frequent(
    corpus: int, clients: int, sigma: float | None, most: int, data: st.DataObject
) -> None:
    samples = data.draw(st.integers(1, corpus))
    shards = deal(RepeatedPartition(samples=samples, sigma=sigma), corpus, clients, most)
    assert len(shards) == clients
    sizes = shards.sizes
    assert sizes.min() >= 1
    assert sizes.max() <= min(corpus, most or corpus)
    if sigma is None:
        assert set(sizes.tolist()) == {min(samples, most or samples)}
    for client in range(clients):
        assert (np.diff(shards[client]) > 0).all()
    frequent = np.bincount(shards.indices, minlength=3 * corpus)
    assert frequent.reshape(corpus, 3)[:, 1:].sum() == 0
    # but for who is at the seam of two orders, which are dealt to the end
    assert np.ptp(frequent[::3]) <= 1


def test_neighbours_do_not_share_more_than_chance() -> None:
    shards = deal(RepeatedPartition(samples=20), 1000, 5000)
    shared = [len(np.intersect1d(shards[client], shards[client + 1])) for client in range(200)]
    # those of one order share nothing, 20 of 1000 twice share 0.4 in the mean
    assert np.mean(shared) < 0.2
    assert len({tuple(shards[client].tolist()) for client in range(5000)}) == 5000


def test_log_normal_sizes_have_the_median_and_spread_asked_for() -> None:
    sizes = deal(RepeatedPartition(samples=50, sigma=0.5), 5000, 20_000).sizes
    assert abs(np.median(sizes) - 50) <= 1
    assert np.std(np.log(sizes)) == pytest.approx(0.5, abs=0.02)
    assert deal(RepeatedPartition(samples=2, sigma=2.0, min_samples=2), 5000, 1000).sizes.min() == 2


def test_sorting_in_pieces_is_sorting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RepeatedPartition(samples=7, sigma=1.0)
    wanted = deal(spec, 90, 300).indices
    monkeypatch.setattr(repeated, "_PIECE", 10)
    assert deal(spec, 90, 300).indices.tolist() == wanted.tolist()


def test_more_samples_than_there_are_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"data.partition.samples: is 31, the corpus has 30 training samples"):
        deal(RepeatedPartition(samples=31), 30, 5)


def test_a_hundred_thousand_clients_cost_two_arrays() -> None:
    spec, samples, draw = RepeatedPartition(samples=16), np.arange(20_000), stream(0, "test")
    tracemalloc.start()
    shards = repeated.deal(spec, samples, 100_000, 0, draw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = shards.indices.nbytes + shards.offsets.nbytes
    assert kept == 4 * 16 * 100_000 + 8 * 100_001
    # sorting takes pieces of a million, whatever the number of clients
    assert peak < 2 * kept + 50e6
