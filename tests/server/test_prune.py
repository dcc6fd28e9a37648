"""Which heads stay, and what is left of the groups without the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim import rng
from fedsim.methods.base import Pruning
from fedsim.model.architecture import Architecture, Head
from fedsim.model.layout import initialise, layer_layout, layouts
from fedsim.model.width import layer_entries
from fedsim.server.parameters import GlobalModel
from fedsim.server.prune import choose, prune

TINY = Architecture("bert", 30, 12, 3, 4, 10, 8, 0.0)
TABLE = np.array([3, 4, 0, 0, 1, 1, 1, 1, 0, 0, 0, 9], np.float32)
LINEAR = Head("linear", 2)


def model(a: Architecture = TINY, price: bool = False) -> GlobalModel:
    places = layouts(a, LINEAR)
    groups = {} if price else {name: initialise(one, rng.stream(1, name)) for name, one in places.items()}
    return GlobalModel(places, groups, dict.fromkeys(places, 5))


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (Pruning(0.0), ((0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3))),
        (Pruning(0.1), ((0, 1), (0, 1, 2, 3), (3,))),
        # the first layer's norm is 5: its shares are 0.6 and 0.8; the second's are all 0.5
        (Pruning(0.5), ((0, 1), (0, 1, 2, 3), (3,))),
        (Pruning(0.6), ((0, 1), (0,), (3,))),
        (Pruning(0.7), ((1,), (0,), (3,))),
        (Pruning(1.0), ((1,), (0,), (3,))),
        (Pruning(0.2, 1), ((1,), (0,), (3,))),
        (Pruning(0.2, 3), ((0, 1, 2), (0, 1, 2), (0, 1, 3))),
    ],
)
def test_heads_stay_by_their_share_of_the_layers_norm(rule: Pruning, kept: tuple[tuple[int, ...], ...]) -> None:
    before = model()
    after = prune(before, TINY, TABLE, rule)
    if rule.threshold == 0.0:
        assert after is before
        return
    assert after.kept_heads == kept
    units = np.arange(TINY.feed_forward)
    for i, heads in enumerate(kept):
        name = f"layer.{i}"
        entries = layer_entries(TINY, i, np.array(heads), units)
        assert np.array_equal(after.groups[name], before.groups[name][entries])
        assert after.layouts[name] == layer_layout(after.architecture(TINY), i)
        assert len(after.groups[name]) == after.layouts[name].size
        assert after.versions[name] == 5 + (len(heads) < 4)
    for name in ("embeddings", "head"):
        assert (after.versions[name], after.groups[name] is before.groups[name]) == (5, True)
    assert (before.kept_heads, before.versions["layer.0"]) == (None, 5)


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=12), st.floats(0, 1), st.floats(1e-3, 1e3))
def test_the_most_important_head_stays_at_any_scale(values: list[float], threshold: float, scale: float) -> None:
    importance = np.array(values, np.float32)
    stay = choose(importance, Pruning(threshold)).tolist()
    assert stay == sorted(set(stay))
    assert importance[stay].max() == importance.max()
    left = [i for i in range(len(values)) if i not in stay]
    assert not left or importance[left].max() <= importance[stay].min()
    norm = np.linalg.norm(importance.astype(np.float64))
    assert all(importance[i] < threshold * norm or norm == 0 for i in left)
    louder = (importance.astype(np.float64) * 2.0 ** round(np.log2(scale))).astype(np.float32)
    scaled = choose(louder, Pruning(threshold))
    if importance.max() < 1e30 and (importance[importance > 0] > 1e-30).all():
        assert scaled.tolist() == stay


def test_a_price_knows_how_many_heads_are_left() -> None:
    after = prune(model(price=True), TINY, None, Pruning(0.2, 2))
    trained = prune(model(), TINY, TABLE, Pruning(0.2, 2))
    assert not after.groups
    assert after.bytes().tolist() == trained.bytes().tolist()
    assert after.versions == trained.versions


def test_a_pruned_model_may_lose_more_heads() -> None:
    once = prune(model(), TINY, TABLE, Pruning(0.2, 2))
    table = np.array([0, 1, 1, 0, 0, 1], np.float32)
    twice = prune(once, TINY, table, Pruning(0.2, 1))
    assert once.kept_heads == ((0, 1), (0, 1), (0, 3))
    assert twice.kept_heads == ((1,), (0,), (3,))
    direct = layer_entries(TINY, 2, np.array([3]), np.arange(10))
    assert np.array_equal(twice.groups["layer.2"], model().groups["layer.2"][direct])
