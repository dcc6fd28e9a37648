from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedsim.cost.flops import flops, importance_flops, layers_only_units
from fedsim.cost.products import Flops
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Draw, Layers, Plan, full
from fedsim.training.importance import gates
from tests.cost.oracles import (
    BART_BASE,
    BERT_BASE,
    DISTILBERT,
    HALF_BERT,
    LINEAR,
    MEAN,
    MLM,
    NARROW,
    POOLER,
    PRUNED,
    PRUNED_DISTILBERT,
    TAGS,
    TINY,
    TINY_BART,
    TINY_DISTILBERT,
    TINYBERT_4,
    TINYBERT_6,
    Reference,
    batch,
    plan,
    positions_of,
    reference,
    work,
)

Size = tuple[int, int, int]
HEADS = pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, MEAN, TAGS], ids=lambda head: head.kind)


def plans(depth: int) -> list[Plan]:
    """Every kind of plan that the methods make, and odd ones, for a local model of that depth."""
    everything = tuple(range(depth))
    return [
        full(depth),
        *[plan(depth, (place,), head=True) for place in everything],
        *[plan(depth, everything[place:], head=True) for place in everything],
        plan(depth, head=True),
        plan(depth, embeddings=True),
        plan(depth, embeddings=True, head=True),
        plan(depth, everything),
        *[plan(depth, (place,)) for place in (0, depth - 1)],
        plan(depth, (0, depth - 1), head=True),
        plan(depth, (depth // 2,), embeddings=True),
    ]


def counted(model: Reference, plan: Plan, size: Size) -> tuple[int, int]:
    """Forward and backward FLOPs as PyTorch dispatches them."""
    model.train_only(plan)
    ids, positions, targets = batch(*size, "meta")
    with FlopCounterMode(display=False) as forward:
        loss = model.loss(ids, None, positions, targets)
    with FlopCounterMode(display=False) as backward:
        loss.backward()  # type: ignore[no-untyped-call]
    return forward.get_total_flops(), backward.get_total_flops()


def predicted(price: Flops, size: Size) -> tuple[int, int]:
    one = work(*size)
    return int(price.forward.total(one)[0]), int(price.backward.total(one)[0])


def check(architecture: Architecture, head: Head, cases: list[tuple[Plan, list[Size]]]) -> None:
    """Compare every plan (all of one depth) at its sizes: samples, length, masked positions."""
    with torch.device("meta"):
        model = reference(architecture, head, cases[0][0].layers.depth, "eager")
    for one, sizes in cases:
        price = flops(LocalShape.of(architecture, head, one))
        for samples, length, masked in sizes:
            size = samples, length, positions_of(head, samples, length, masked)
            assert predicted(price, size) == counted(model, one, size), (one, size)


SMALL = [(samples, length, masked) for samples in (1, 3) for length in (2, 7, 16) for masked in (1, 2)]


@pytest.mark.slow
@HEADS
def test_every_plan_of_an_encoder_decoder_matches_the_dispatcher_exactly(head: Head) -> None:
    sides = [plan(5, (0, 1, 2)), plan(5, (3, 4)), plan(5, (2, 3), head=True), plan(5, (0, 4))]
    check(TINY_BART, head, [(one, [SMALL[i % len(SMALL)]]) for i, one in enumerate([*plans(5), *sides])])


@pytest.mark.slow
@pytest.mark.parametrize("slots", [(0, 4), (0, 1, 2, 3), (2, 3, 4), (0, 2, 4)])
@pytest.mark.parametrize("head", [MLM, POOLER], ids=lambda head: head.kind)
def test_every_plan_of_a_part_of_both_sides_matches(slots: tuple[int, ...], head: Head) -> None:
    depth = len(slots)
    local = TINY_BART.local(slots)
    with torch.device("meta"):
        model = reference(local, head, depth, "eager")
    for i, one in enumerate(plans(depth)):
        samples, length, masked = SMALL[i % len(SMALL)]
        size = samples, length, positions_of(head, samples, length, masked)
        price = flops(LocalShape.of(TINY_BART, head, replace(one, layers=Layers(slots))))
        assert predicted(price, size) == counted(model, one, size), (one, size)


FEWER_HEADS = pytest.mark.parametrize(
    "architecture", [PRUNED, PRUNED_DISTILBERT, NARROW], ids=["pruned_bert", "pruned_distilbert", "narrow"]
)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT], ids=["bert", "distilbert"])
@HEADS
def test_every_plan_matches_the_dispatcher_exactly(architecture: Architecture, head: Head) -> None:
    check(architecture, head, [(one, [SMALL[i % len(SMALL)]]) for i, one in enumerate(plans(3))])


@pytest.mark.slow
@FEWER_HEADS
@pytest.mark.parametrize("head", [MLM, POOLER, LINEAR], ids=lambda head: head.kind)
def test_every_plan_matches_where_layers_have_fewer_heads_and_units(architecture: Architecture, head: Head) -> None:
    check(architecture, head, [(one, [SMALL[i % len(SMALL)]]) for i, one in enumerate(plans(3))])


PUBLISHED = [(samples, length, 20 * samples) for samples in (1, 8) for length in (32, 128, 512)]
ALL_POSITIONS = (8, 128, 8 * 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [BERT_BASE, DISTILBERT, TINYBERT_4, BART_BASE], ids=["bert", "distilbert", "tinybert", "bart"]
)
def test_published_sizes_match_at_every_length_and_batch(architecture: Architecture) -> None:
    depth = architecture.layers
    check(architecture, MLM, [(full(depth), [*PUBLISHED, ALL_POSITIONS])])


def test_half_of_bert_base_matches_and_has_half_of_the_layers_products() -> None:
    check(HALF_BERT, MLM, [(full(12), PUBLISHED[1:3]), (plan(12, (5,), head=True), PUBLISHED[:1])])
    half, whole = (flops(LocalShape.of(one, MLM, full(12))) for one in (HALF_BERT, BERT_BASE))
    assert 2 * half.forward.token == whole.forward.token
    assert 2 * half.backward.squared_token == whole.backward.squared_token
    assert half.forward.position == whole.forward.position


@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT, PRUNED], ids=["bert", "distilbert", "pruned"])
@pytest.mark.parametrize("head", [MLM, POOLER, MEAN, TAGS], ids=lambda head: head.kind)
def test_finding_the_importance_of_heads_costs_what_the_dispatcher_counts(
    architecture: Architecture, head: Head
) -> None:
    size = (3, 7, positions_of(head, 3, 7, 5))
    shape = LocalShape.of(architecture, head, full(3))
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = LocalModel(shape)
        index = torch.zeros(size[2], dtype=torch.long)
        ids, real = torch.zeros(3, 7, dtype=torch.long), torch.ones(3, 7, dtype=torch.bool)
        with gates(model) as opened:
            with FlopCounterMode(display=False) as forward:
                loss = model.loss(Batch(ids, real, index if head.kind == "mlm" else None, index))
            with FlopCounterMode(display=False) as backward:
                torch.autograd.grad(loss, opened)
    assert predicted(importance_flops(shape), size) == (forward.get_total_flops(), backward.get_total_flops())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [6, 12])
def test_bert_base_matches_at_every_place_that_fedbt_trains(depth: int) -> None:
    check(BERT_BASE, MLM, [(plan(depth, (place,), head=True), [PUBLISHED[4]]) for place in range(depth)])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [BERT_BASE, DISTILBERT], ids=["bert", "distilbert"])
@HEADS
def test_every_plan_of_the_published_sizes_matches(architecture: Architecture, head: Head) -> None:
    sizes = [*PUBLISHED, ALL_POSITIONS]
    check(architecture, head, [(one, [sizes[i % 7]]) for i, one in enumerate(plans(architecture.layers))])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT, TINY_BART], ids=["bert", "distilbert", "bart"])
def test_the_local_model_that_clients_train_costs_the_same(architecture: Architecture) -> None:
    samples, length, masked = size = (3, 7, 5)
    depth = architecture.layers
    for one in (full(depth), plan(depth, (1,), head=True), plan(depth, head=True), plan(depth, (depth - 1,))):
        shape = LocalShape.of(architecture, MLM, one)
        with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
            model = LocalModel(shape)
            index = torch.zeros(masked, dtype=torch.long)
            ids, real = torch.zeros(samples, length, dtype=torch.long), torch.ones(samples, length, dtype=torch.bool)
            with FlopCounterMode(display=False) as forward:
                loss = model.loss(Batch(ids, real, index, index))
            with FlopCounterMode(display=False) as backward:
                loss.backward()  # type: ignore[no-untyped-call]
        assert predicted(flops(shape), size) == (forward.get_total_flops(), backward.get_total_flops())


def test_copies_of_a_layer_are_separate_layers() -> None:
    drawn = Plan(Layers((0,), Draw(4, 1, 12), (11,)), (0,), train_embeddings=False, train_head=True)
    twice = Plan(Layers((0, 7, 7, 9, 9, 11)), (0,), train_embeddings=False, train_head=True)
    costs = {flops(LocalShape.of(BERT_BASE, MLM, one)) for one in (drawn, twice, plan(6, (0,), head=True))}
    assert len(costs) == 1


def test_closed_forms_of_bert_base() -> None:
    h, f, vocabulary = 768, 3072, 30522
    whole = flops(LocalShape.of(BERT_BASE, MLM, full(12)))
    assert whole.forward.token == 12 * (8 * h * h + 4 * h * f) == 169_869_312
    assert whole.forward.squared_token == 12 * 4 * h
    assert whole.forward.position == 2 * h * h + 2 * h * vocabulary
    assert whole.backward == whole.forward + whole.forward
    head_alone = flops(LocalShape.of(BERT_BASE, MLM, plan(12, head=True)))
    assert head_alone.backward.token == head_alone.backward.squared_token == 0
    assert head_alone.backward.position == 2 * h * h + 2 * h * vocabulary
    untrained = flops(LocalShape(BERT_BASE, MLM, 12))
    assert untrained.forward == whole.forward
    assert untrained.backward == untrained.backward + untrained.backward


def test_closed_forms_of_bart_base() -> None:
    h, f, vocabulary = 768, 3072, 50265
    whole = flops(LocalShape.of(BART_BASE, MLM, full(12)))
    assert whole.forward.token == 6 * (8 * h * h + 4 * h * f) + 6 * (16 * h * h + 4 * h * f)
    assert whole.forward.squared_token == 6 * 4 * h + 6 * 8 * h
    assert whole.forward.position == 2 * h * vocabulary
    assert whole.backward == whole.forward + whole.forward
    # of a decoder alone, keys and values of the encoder's states have no gradient to hand down
    decoder = flops(LocalShape.of(BART_BASE, MLM, plan(12, tuple(range(6, 12)))))
    assert decoder.backward.token == 2 * 6 * (16 * h * h + 4 * h * f) - 3 * 2 * h * h - 6 * 2 * 2 * h * h


FEDBT_SCHEDULE = [0, 0, 0, 1, 2]
"""The layer that FedBT trains in each of 5 rounds."""


def units(architecture: Architecture, one: Plan) -> int:
    return layers_only_units(LocalShape.of(architecture, MLM, one))


def test_layers_only_units_give_the_published_shares() -> None:
    bert = units(BERT_BASE, full(12))
    assert bert == 36
    assert units(TINYBERT_6, full(6)) == 18
    fedbt = [units(BERT_BASE, plan(6, (place,), head=True)) for place in FEDBT_SCHEDULE]
    assert fedbt == [13, 13, 13, 12, 11]
    assert Fraction(sum(fedbt), 5 * bert) == Fraction(31, 90)
    assert units(BERT_BASE, plan(12, head=True)) == 12
    assert units(BERT_BASE, plan(12, embeddings=True)) == 24


def test_honest_share_of_fedbt_is_above_the_layers_only_one() -> None:
    def total(one: Plan, size: Size) -> int:
        return sum(predicted(flops(LocalShape.of(BERT_BASE, MLM, one)), size))

    for size, low, high in (((8, 128, 154), 0.34, 0.36), (ALL_POSITIONS, 0.40, 0.47)):
        share = Fraction(
            sum(total(plan(6, (place,), head=True), size) for place in FEDBT_SCHEDULE), 5 * total(full(12), size)
        )
        assert low < share < high


def test_totals_are_64_bit_integers_per_client() -> None:
    one = work(8, 128, 154)
    many = flops(LocalShape.of(BERT_BASE, MLM, full(12))).forward.total(one)
    assert many.dtype == np.int64
    assert many.shape == (1,)
