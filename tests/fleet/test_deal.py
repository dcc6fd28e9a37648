import numpy as np

from fedsim.fleet.deal import deal


def test_recordings_are_dealt_in_turn_or_at_random() -> None:
    assert deal("x", "listed", 3, 7, seed=0).tolist() == [0, 1, 2, 0, 1, 2, 0]
    dealt = deal("x", "random", 10, 35, seed=4)
    assert sorted(dealt[:10]) == sorted(dealt[10:20]) == list(range(10))
    assert np.bincount(dealt).tolist().count(4) == 5
    assert dealt[:10].tolist() != dealt[10:20].tolist()
    assert np.array_equal(dealt, deal("x", "random", 10, 35, seed=4))
    assert not np.array_equal(dealt, deal("x", "random", 10, 35, seed=5))
    assert not np.array_equal(dealt, deal("y", "random", 10, 35, seed=4))
