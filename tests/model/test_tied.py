"""The loss that is one step of automatic differentiation, against PyTorch's own."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fedsim.model.architecture import Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.model.tied import tied_loss
from tests.cost.oracles import TINY, plan

QUIET = replace(TINY, dropout=0.0)


@pytest.mark.parametrize("words", [7, 200])
@pytest.mark.parametrize(
    "wanted", [(True, True, True), (True, False, False), (True, False, True), (False, True, False)]
)
def test_the_tied_loss_is_cross_entropy(words: int, wanted: tuple[bool, bool, bool]) -> None:
    draw = torch.Generator().manual_seed(3)
    tensors = [torch.randn(shape, generator=draw) for shape in ((9, 128), (words, 128), (words,))]
    targets = torch.randint(0, words, (9,), generator=draw)
    targets[[2, 5]] = -100
    found = []
    for ours in (True, False):
        x, w, b = own = [tensor.clone().requires_grad_(asks) for tensor, asks in zip(tensors, wanted, strict=True)]
        value = tied_loss(x, w, b, targets) if ours else functional.cross_entropy(functional.linear(x, w, b), targets)
        (2 * value).backward()  # type: ignore[no-untyped-call]
        found.append((value.detach(), *(tensor.grad for tensor in own)))
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_tied_loss_of_what_is_thought_impossible_is_finite() -> None:
    states, words = (
        torch.ones(1, 4, requires_grad=True),
        torch.stack([torch.full((4,), 100.0), torch.full((4,), -100.0)]),
    )
    loss = tied_loss(states, words, torch.zeros(2), torch.tensor([1]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 800.0
    assert states.grad is not None
    assert torch.equal(states.grad, torch.full((1, 4), 200.0))


def test_the_loss_of_classifiers_is_cross_entropy() -> None:
    made = LocalModel(LocalShape(QUIET, Head("linear", 5), 3))
    for part in made.parts.values():
        part.flat.fill_(0.1)
    given = Batch(torch.ones(3, 8, dtype=torch.long), None, None, torch.tensor([0, 4, 2]))
    wanted = functional.cross_entropy(made.logits(given), given.targets)
    assert made.loss(given).item() == wanted.item()


@pytest.mark.parametrize("embeddings", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_it_computes_what_cross_entropy_of_the_logits_does(embeddings: bool, head: bool) -> None:
    made = LocalModel(LocalShape.of(QUIET, Head("mlm"), plan(3, (1,), embeddings=embeddings, head=head)))
    for part in made.parts.values():
        part.flat.fill_(0.1)
    ids = torch.ones(2, 6, dtype=torch.long)
    given = Batch(ids, None, torch.tensor([1, 4, 9]), torch.tensor([3, 1, 4]))
    counted = []
    for ours in (True, False):
        with FlopCounterMode(display=False) as counter:
            loss = made.loss(given) if ours else functional.cross_entropy(made.logits(given), given.targets)
            loss.backward()  # type: ignore[no-untyped-call]
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0
