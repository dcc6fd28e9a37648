"""Averaging: the closed form, and independence of the order in which blocks arrive."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.model.architecture import Architecture
from fedsim.model.layout import Layout, layer_layout
from fedsim.model.width import Window
from fedsim.server.merge import Merge
from fedsim.server.parameters import GlobalModel, Pools, shares


@given(st.permutations(range(6)), st.integers(0, 10))
def test_block_order_not_arrival_order_decides(order: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    sums = [{"a": draw.standard_normal(17).astype(np.float32)} for _ in range(6)]
    straight, shuffled = Merge(), Merge()
    for i in range(6):
        straight.add(i, sums[i])
    for i in order:
        shuffled.add(i, sums[i])
    assert np.array_equal(straight.means({})["a"], shuffled.means({})["a"])


def test_mean_of_those_who_sent_a_group() -> None:
    own = shares({0: ("a", "b"), 1: ("a",), 2: ("a", "b")}, {0: 1.0, 1: 2.0, 2: 1.0})
    assert own == {0: {"a": 0.25, "b": 0.5}, 1: {"a": 0.5}, 2: {"a": 0.25, "b": 0.5}}


def test_a_group_sent_twice_counts_twice() -> None:
    own = shares({0: ("a", "a"), 1: ("a",)}, {0: 1.0, 1: 2.0})
    assert own == {0: {"a": 0.25}, 1: {"a": 0.5}}


def test_one_client_keeps_every_bit() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    (share,) = shares({4: ("a",)}, {4: 37.0})[4].values()
    merge = Merge()
    merge.add(0, {"a": values * np.float32(share)})
    assert np.array_equal(merge.means({})["a"], values)


def test_what_was_lost_is_taken_out_of_the_mean() -> None:
    merge = Merge()
    merge.add(0, {"a": np.array([0.25 * 8.0], np.float32)})
    assert merge.means({"a": 0.75})["a"][0] == 8.0


def test_changes_are_added_to_what_was_there_and_nobodys_entries_stay() -> None:
    tiny = Architecture("bert", 50, 8, 2, 2, 8, 16, 0.0)
    size, half = layer_layout(tiny, 0).size, Window(tiny, 0.5)
    before = {"layer.0": np.full(size, 3.0, np.float32), "head": np.full(2, 5.0, np.float32)}
    own = half.entries(0)
    merge = Merge(before, changes=True)
    merge.add(
        0, {"layer.0": np.full(len(own), 0.25 * 2.0, np.float32), "head": np.full(2, 0.25 * 4.0, np.float32)}, half
    )
    merge.add(1, {})
    found = merge.means({"layer.0": 0.75, "head": 0.75}, {"layer.0": {half: 0.25}})
    held = np.zeros(size, bool)
    held[own] = True
    assert set(found["layer.0"][held]) == {5.0}
    assert set(found["layer.0"][~held]) == {3.0}
    assert found["head"].tolist() == [9.0, 9.0]


def test_a_missing_block_is_an_error() -> None:
    merge = Merge()
    merge.add(1, {"a": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="block 0"):
        merge.means({})


def test_versions_count_changes_and_old_models_stay() -> None:
    layout = Layout((("w", (2,)),))
    model = GlobalModel({"a": layout, "b": layout}, {n: np.zeros(2, np.float32) for n in "ab"})
    after = model.updated(["b"], {"b": np.ones(2, np.float32)})
    assert (model.versions, after.versions) == ({"a": 0, "b": 0}, {"a": 0, "b": 1})
    assert model.sha256() != after.sha256()
    assert model.groups["b"].sum() == 0
    assert list(after.current()) == [0, 1]


def test_pools_remember_what_each_client_downloaded() -> None:
    pools = Pools(3, 2)
    pools.download(np.array([2]), np.array([[True, False]]), np.array([5, 6], np.int32), np.zeros(1, np.int32))
    assert pools.holding(np.arange(3), 0, ("embeddings", "head")).tolist() == [[-1, -1], [-1, -1], [5, -1]]
