from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.cost.memory import Polynomial, activation_bytes, peak_bytes, saved_bytes
from fedsim.cost.parameters import local_size, trained_size
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Layers, Plan, full
from fedsim.scenario.phases import Optimizer
from fedsim.training.importance import gates
from tests.cost.oracles import (
    BERT_BASE,
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
    plan,
    positions_of,
)

Size = tuple[int, int, int]


def at(polynomial: Polynomial, *size: int) -> int:
    return int(polynomial.at(np.array([size], dtype=np.int64))[0])


def real_batch(head: Head, size: Size, *, padded: bool = True) -> Batch:
    samples, length, positions = size
    real = torch.ones(samples, length, dtype=torch.bool)
    real[0, -1] = False
    return Batch(
        ids=torch.ones(samples, length, dtype=torch.long),
        real=real if padded else None,
        positions=torch.zeros(positions, dtype=torch.long) if head.kind == "mlm" else None,
        targets=torch.zeros(positions, dtype=torch.long),
    )


def real_model(shape: LocalShape) -> LocalModel:
    model = LocalModel(shape)
    for part in model.parts.values():
        part.flat.fill_(0.01)
    return model


def really_saved(model: LocalModel, batch: Batch) -> int:
    """Bytes of distinct memory that a real forward pass on this CPU keeps for backward."""
    own = {t.untyped_storage().data_ptr() for t in (*model.module.parameters(), *model.module.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


PLANS = [
    full(3),
    plan(3, (1,), head=True),
    plan(3, (2,), head=True),
    plan(3, head=True),
    plan(3, embeddings=True),
    plan(3, (0, 1, 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT], ids=["bert", "distilbert"])
@pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, MEAN, TAGS], ids=lambda head: head.kind)
def test_prediction_is_what_real_training_saves(architecture: Architecture, head: Head, dropout: float) -> None:
    for one in PLANS if head is MLM else PLANS[:4]:
        shape = LocalShape.of(replace(architecture, dropout=dropout), head, one)
        model = real_model(shape)
        for samples, length, masked in ((1, 9, 3), (4, 17, 11)):
            size = samples, length, positions_of(head, samples, length, masked)
            assert at(activation_bytes(shape), *size) == really_saved(model, real_batch(head, size)), (one, size)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, MEAN, TAGS], ids=lambda head: head.kind)
def test_prediction_is_what_training_an_encoder_decoder_saves(head: Head, dropout: float) -> None:
    a = replace(TINY_BART, dropout=dropout)
    cases = [(full(5), None), (plan(2, (1,), head=True), (0, 4)), (plan(3, (0, 1, 2), head=True), (0, 3, 4))]
    for one, slots in cases if head is MLM else cases[:2]:
        chosen = one if slots is None else replace(one, layers=Layers(slots))
        shape = LocalShape.of(a, head, chosen)
        model = real_model(shape)
        for samples, length, masked in ((1, 9, 3), (4, 17, 11)):
            size = samples, length, positions_of(head, samples, length, masked)
            assert at(activation_bytes(shape), *size) == really_saved(model, real_batch(head, size)), (one, size)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [PRUNED, PRUNED_DISTILBERT, NARROW], ids=["bert", "distilbert", "narrow"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_prediction_is_what_training_with_fewer_heads_saves(architecture: Architecture, scale: float) -> None:
    for one in (full(3), plan(3, (1,), head=True), plan(3, (2,), head=True), plan(2, (0,), embeddings=True)):
        shape = replace(LocalShape.of(architecture, LINEAR, one), scale=scale)
        model = real_model(shape)
        for samples, length in ((1, 9), (4, 17)):
            size = samples, length, samples
            assert at(activation_bytes(shape), *size) == really_saved(model, real_batch(LINEAR, size)), (one, size)


def test_fewer_heads_save_fewer_attention_matrices() -> None:
    kept = activation_bytes(LocalShape.of(PRUNED, MLM, full(3))).squared_token
    assert kept == (2 + 3 + 1) * 3 * 4  # heads, (softmax, mask, product), float32


@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT, PRUNED], ids=["bert", "distilbert", "pruned"])
@pytest.mark.parametrize("head", [MLM, POOLER, MEAN], ids=lambda head: head.kind)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_finding_the_importance_of_heads_needs_less_than_training(
    architecture: Architecture, head: Head, dropout: float
) -> None:
    shape = LocalShape.of(replace(architecture, dropout=dropout), head, full(3))
    for samples, length, masked in ((1, 3, 1), (4, 32, 9)):
        size = samples, length, positions_of(head, samples, length, masked)
        model = real_model(shape)
        model.module.eval()
        with gates(model):
            saved = saved_bytes(model, real_batch(head, size))
        # and it needs neither gradients of parameters nor the optimizer's state
        assert 0 < saved < at(activation_bytes(shape), *size)


@pytest.mark.slow
@pytest.mark.parametrize("one", [full(12), plan(6, (0,), head=True)], ids=["fedavg", "fedbt"])
def test_prediction_is_exact_for_bert_base(one: Plan) -> None:
    shape = LocalShape.of(BERT_BASE, MLM, one)
    size = (2, 64, 19)
    assert at(activation_bytes(shape), *size) == really_saved(real_model(shape), real_batch(MLM, size))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_batch_without_padding_needs_no_more(dropout: float) -> None:
    shape = LocalShape.of(replace(TINY, dropout=dropout), MLM, full(3))
    saved = saved_bytes(real_model(shape), real_batch(MLM, (3, 8, 5), padded=False))
    assert saved <= at(activation_bytes(shape), 3, 8, 5)


def test_frozen_layers_below_the_lowest_trained_one_save_nothing() -> None:
    saved = [
        really_saved(real_model(LocalShape.of(TINY, MLM, one)), real_batch(MLM, (3, 8, 5)))
        for one in (plan(2, (1,), head=True), plan(5, (4,), head=True))
    ]
    assert saved[0] == saved[1]
    alone = activation_bytes(LocalShape.of(TINY, MLM, plan(2, head=True)))
    assert alone.token == alone.squared_token == 0


def test_each_layer_above_adds_the_same() -> None:
    two, three, five = (
        np.array([at(activation_bytes(LocalShape.of(TINY, MLM, full(n))), b, 8, 5) for b in (1, 4)]) for n in (2, 3, 5)
    )
    assert (five - three == 2 * (three - two)).all()


def test_dropout_keeps_attention_matrices() -> None:
    kept = activation_bytes(LocalShape.of(TINY, MLM, full(3))).squared_token
    assert kept == 3 * TINY.heads * 3 * 4  # layers, heads, (softmax, mask, product), float32
    fused = activation_bytes(LocalShape.of(replace(TINY, dropout=0.0), MLM, full(3))).squared_token
    assert fused == 3 * 4  # layers, float32: the padding mask alone


@pytest.mark.parametrize(
    ("kind", "momentum", "copies"),
    [("sgd", 0.0, 1), ("sgd", 0.9, 2), ("adamw", 0.0, 3)],
    ids=["sgd", "momentum", "adamw"],
)
def test_peak_adds_weights_gradients_and_optimizer_state(
    kind: Literal["sgd", "adamw"], momentum: float, copies: int
) -> None:
    shape = LocalShape.of(TINY, MLM, plan(3, (1,), head=True))
    largest = np.array([[1, 8, 2], [4, 16, 9]], dtype=np.int64)
    peak = peak_bytes(shape, Optimizer(kind=kind, momentum=momentum), largest)
    fixed = local_size(shape).bytes + copies * trained_size(shape).bytes
    assert peak.tolist() == [fixed + at(activation_bytes(shape), *size) for size in largest.tolist()]


@pytest.mark.slow
def test_weights_gradients_and_state_of_bert_base_with_adamw() -> None:
    shape = LocalShape.of(BERT_BASE, MLM, full(12))
    idle = peak_bytes(shape, Optimizer(), np.zeros((1, 3), dtype=np.int64))
    assert idle.dtype == np.int64
    assert int(idle[0]) == 4 * 438_057_192 + activation_bytes(shape).constant


def test_measuring_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    activation_bytes(LocalShape.of(replace(TINY, vocabulary=61), MLM, full(3)))
    assert torch.equal(before, torch.get_rng_state())
