"""The top layer, computed only where the head reads it: the same loss and gradients as everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedsim.cost.flops import flops
from fedsim.cost.memory import activation_bytes, saved_bytes
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Adapters, Split, full
from tests.cost.oracles import NARROW, PRUNED, TINY, TINY_BART, TINY_DISTILBERT, plan, work

FAMILIES = pytest.mark.parametrize(
    "architecture", [TINY, TINY_DISTILBERT, PRUNED, NARROW], ids=["bert", "distilbert", "pruned", "narrow"]
)
HEADS = pytest.mark.parametrize("kind", ["mlm", "pooler", "linear"])
PLANS = {
    "all": full(3),
    "top": plan(3, (2,), head=True),
    "below the top": plan(3, (1,), head=True),
    "head": plan(3, head=True),
    "embeddings": plan(3, embeddings=True),
    "ends": plan(3, (0, 2), head=True),
}


def head(kind: str, everywhere: bool = False) -> Head:
    return Head(kind, 0 if kind == "mlm" else 4, everywhere)  # type: ignore[arg-type]


def batch(kind: str, samples: int = 3, length: int = 7, *, padded: bool = True) -> Batch:
    draw = torch.Generator().manual_seed(samples)
    ids = torch.randint(5, 200, (samples, length), generator=draw)
    real = torch.arange(length) < torch.arange(length, length - samples, -1)[:, None]
    if kind == "mlm":  # as many as there are, not as many of each sample
        positions = torch.arange(samples * length)[real.flatten()][::3].contiguous()
        targets = torch.randint(5, 200, (len(positions),), generator=draw)
    else:
        positions, targets = None, torch.arange(samples) % 4
    return Batch(ids, real if padded else None, positions, targets)


def model(architecture: Architecture, shape: LocalShape) -> LocalModel:
    made = LocalModel(shape)
    draw = torch.Generator().manual_seed(5)
    for part in made.parts.values():
        part.flat.copy_(torch.randn(part.size, generator=draw) * 0.1)
    return made


@FAMILIES
@HEADS
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("which", PLANS)
def test_loss_and_gradients_are_the_same(architecture: Architecture, kind: str, padded: bool, which: str) -> None:
    quiet, given = replace(architecture, dropout=0.0), batch(kind, padded=padded)
    found = []
    for everywhere in (True, False):
        made = model(quiet, LocalShape.of(quiet, head(kind, everywhere), PLANS[which]))
        assert made.shape.narrows is not everywhere
        loss = made.loss(given)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = torch.cat([part.grad for part in made.trained.values() if part.grad is not None])
        found.append((made.logits(given), loss, gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert found[0][2].abs().max() > 1e-4


def counted(made: LocalModel, given: Batch) -> tuple[int, int]:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        loss = made.loss(given)
    with FlopCounterMode(display=False) as backward:
        loss.backward()  # type: ignore[no-untyped-call]
    return forward.get_total_flops(), backward.get_total_flops()


def predicted(shape: LocalShape, given: Batch) -> tuple[int, int]:
    samples, length = given.ids.shape
    price = flops(shape)
    one = work(samples, length, len(given.targets))
    return int(price.forward.total(one)[0]), int(price.backward.total(one)[0])


def check_flops(shape: LocalShape, kind: str) -> None:
    for samples, length in ((1, 2), (3, 7), (2, 16)):
        given = batch(kind, samples, length, padded=False)
        assert predicted(shape, given) == counted(LocalModel(shape), given), (samples, length)


def check_memory(shape: LocalShape, kind: str) -> None:
    made = model(shape.architecture, shape)
    for samples, length in ((3, 7), (2, 16)):
        given = batch(kind, samples, length)
        size = np.array([[samples, length, len(given.targets) if kind == "mlm" else 0]])
        assert activation_bytes(shape).at(size) == saved_bytes(made, given), (samples, length)


@FAMILIES
@HEADS
@pytest.mark.parametrize("which", PLANS)
def test_price_is_what_the_dispatcher_counts(architecture: Architecture, kind: str, which: str) -> None:
    shape = LocalShape.of(architecture, head(kind), PLANS[which])
    check_flops(shape, kind)
    one = work(3, 7, 5)
    everywhere = flops(replace(shape, head=head(kind, everywhere=True)))
    assert flops(shape).forward.total(one) < everywhere.forward.total(one)


@HEADS
@pytest.mark.parametrize("targets", [("query",), ("query", "value"), ("attention_output", "feed_forward_out")])
def test_so_it_is_beside_adapters(kind: str, targets: tuple[str, ...]) -> None:
    adapters = Adapters(2, 4.0, targets)
    check_flops(LocalShape(TINY, head(kind), 3, train_head=True, adapters=adapters, train_adapters=True), kind)


@pytest.mark.slow
@HEADS
@pytest.mark.parametrize("which", ["all", "top", "below the top", "head"])
def test_memory_is_what_forward_keeps(kind: str, which: str) -> None:
    check_memory(LocalShape.of(TINY, head(kind), PLANS[which]), kind)


def test_a_head_that_reads_all_or_somebody_who_looks_inside_needs_all() -> None:
    assert not LocalShape(TINY, Head("mean", 4, everywhere=False), 3).narrows
    assert not LocalShape(TINY, Head("tokens", 4, everywhere=False), 3).narrows
    assert not LocalShape(TINY, head("pooler"), 3, exits=(1,)).narrows
    assert not LocalShape(TINY, head("pooler"), 0).narrows
    assert not LocalShape(TINY_BART, head("pooler"), 5).narrows
    split = replace(full(3), split=Split("float32", 1.0))
    assert not LocalShape.of(TINY, head("pooler"), split).narrows
    assert LocalShape.of(TINY, head("pooler"), full(3)).narrows
