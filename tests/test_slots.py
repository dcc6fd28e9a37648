"""Local layers of a cohort at once, against those of one client after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.work import IntArray
from fedsim.plan import EMBEDDINGS, HEAD, Draw, Layers, Plan, layer
from fedsim.slots import LocalLayers, Slots
from fedsim.trace.schema import slots_text

LAYERS = 12
NAMES = (EMBEDDINGS, *map(layer, range(LAYERS)), HEAD)


@st.composite
def drawn_layers(draw: st.DrawFn) -> Layers:
    below = tuple(range(draw(st.integers(0, 4))))
    above = draw(st.sampled_from([(), (11,), (10, 11), ((8, 9), (10, 11))]))
    start = draw(st.integers(0, 11))
    count = draw(st.integers(0, 9))
    return Layers(below, Draw(count, start, draw(st.integers(start + 1, 12))) if count else None, above)


def plan(layers: Layers, full_pool: bool = True) -> Plan:
    """Trains whatever may be sent: an average of layers may not."""
    own = tuple(range(layers.depth - len(layers.above)))
    return Plan(layers, own, train_embeddings=False, train_head=True, full_pool=full_pool)


def local(layers: Layers, clients: IntArray, *key: int) -> LocalLayers:
    return LocalLayers.draw(layers, clients, 7, "further_pretrain", *key)


@given(drawn_layers(), st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True), st.data())
def test_a_clients_draw_is_its_own(layers: Layers, clients: list[int], data: st.DataObject) -> None:
    """Neither the size of the fleet nor who is asked with it, nor in which order, changes what a client is given."""
    everybody = local(layers, np.array(clients), 3)
    some = data.draw(st.permutations(clients))[: data.draw(st.integers(1, len(clients)))]
    fewer = local(layers, np.array(some), 3)
    assert [fewer[i] for i in range(len(some))] == [everybody[clients.index(client)] for client in some]


@given(drawn_layers())
def test_draws_are_sorted_and_within_bounds(layers: Layers) -> None:
    drawn = local(layers, np.arange(50), 0).drawn
    assert drawn.shape == (50, layers.draws)
    if layers.draw is not None:
        assert drawn.min() >= layers.draw.start
        assert drawn.max() < layers.draw.stop
        assert (np.diff(drawn, axis=1) >= 0).all()


def test_draws_are_uniform_and_differ_between_rounds() -> None:
    layers = Layers((0,), Draw(5, 1, 12))
    here, there = (local(layers, np.arange(20_000), round_).drawn for round_ in (0, 1))
    counts = np.bincount(here.ravel(), minlength=12)[1:]
    # chi-squared with 10 degrees of freedom: above 40 once in 50,000
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 40
    assert (here == there).all(axis=1).mean() < 0.01
    # five draws are independent: all equal once in 11^4
    assert (here[:, 0] == here[:, -1]).mean() < 0.002


@given(drawn_layers(), st.booleans())
def test_groups_and_texts_are_those_of_each_client(layers: Layers, full_pool: bool) -> None:
    own, asked = local(layers, np.arange(20)), plan(layers, full_pool)
    needed = own.needed(asked, NAMES)
    for member in range(20):
        expected = set(NAMES) if full_pool else set(asked.downloaded(own[member]))
        assert {name for name, wanted in zip(NAMES, needed[member], strict=True) if wanted} == expected
    members = np.array([3, 11, 19])
    assert own.sent(asked, members) == {name for member in members for name in asked.sent(own[int(member)])}
    assert own.texts().to_pylist() == [slots_text(own[member]) for member in range(20)]


def test_each_member_according_to_its_plan() -> None:
    deep, shallow = Layers((0,), Draw(5, 1, 12)), Layers((0, 1))
    which, clients = np.array([0, 1, 1, 0]), np.array([5, 6, 7, 8])
    slots = Slots((local(deep, clients), local(shallow, clients)), which)
    assert (slots[1], slots[2]) == ((0, 1), (0, 1))
    assert len(slots[3]) == 6
    assert slots.texts().to_pylist() == [slots_text(slots[member]) for member in range(4)]
    assert slots.sent(plan(shallow), np.array([1, 2])) == {"head", "layer.0", "layer.1"}
    both = {name for member in (0, 3) for name in plan(deep).sent(slots[member])}
    assert slots.sent(plan(deep), np.array([0, 3])) == both
    assert slots.sent(plan(deep), np.zeros(0, np.int64)) == set()


@given(st.lists(st.tuples(drawn_layers(), st.integers(1, 4)), min_size=1, max_size=4))
def test_rows_of_several_cohorts(parts: list[tuple[Layers, int]]) -> None:
    cohorts = [Slots((local(layers, np.arange(n)),), np.zeros(n, np.int64)) for layers, n in parts]
    whole = Slots.join(cohorts)
    expected = [cohort[i] for cohort in cohorts for i in range(len(cohort))]
    assert [whole[i] for i in range(len(whole))] == expected
    assert whole.texts().to_pylist() == [slots_text(slots) for slots in expected]
    order = np.arange(len(whole))[::-1]
    assert [whole.take(order)[i] for i in range(len(whole))] == expected[::-1]


def test_as_many_layers_as_are_drawn() -> None:
    with pytest.raises(ValueError, match="5 drawn layers, not 0"):
        Layers((0,), Draw(5, 1, 12)).slots()
