"""Attention without keys and values against attention with them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.absorbed import attend_absorbed

SAMPLES, TOKENS, HEADS, WIDTH, HIDDEN = 6, 5, 2, 4, 12


def by_hand(
    query: Tensor, key: nn.Linear, value: nn.Linear, states: Tensor, real: Tensor | None, dropout: float
) -> Tensor:
    q, k, v = (each.view(len(states), -1, HEADS, WIDTH).transpose(1, 2) for each in (query, key(states), value(states)))
    scores = q @ k.transpose(2, 3) / WIDTH**0.5
    if real is not None:
        scores = scores.masked_fill(~real[:, None, None], -torch.inf)
    # of one query a sample as many numbers are drawn, in the same order
    weights = functional.dropout(scores.softmax(-1), dropout)
    return (weights @ v).transpose(1, 2).reshape(query.shape)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("clients", [None, 1, 3])
def test_values_and_gradients_are_those_of_keys_and_values(clients: int | None, padded: bool, dropout: float) -> None:
    torch.manual_seed(0)
    states, query = torch.randn(SAMPLES, TOKENS, HIDDEN), torch.randn(SAMPLES, 1, HEADS * WIDTH)
    real = torch.arange(TOKENS) <= torch.arange(SAMPLES)[:, None]
    mask = real[:, None, None].expand(-1, 1, TOKENS, -1)
    layers = [(nn.Linear(HIDDEN, HEADS * WIDTH), nn.Linear(HIDDEN, HEADS * WIDTH)) for _ in range(clients or 1)]
    found_key, found_value = (nn.Linear(HIDDEN, HEADS * WIDTH) for _ in "kv")
    for stacked, own in ((found_key, [k for k, _ in layers]), (found_value, [v for _, v in layers])):
        for name in ("weight", "bias"):
            each = torch.stack([getattr(layer, name).detach() for layer in own])
            setattr(stacked, name, nn.Parameter(each if clients else each[0]))
    mine, theirs = [each.clone().requires_grad_() for each in (query, states)], [query.requires_grad_(), states]
    theirs[1].requires_grad_()

    torch.manual_seed(1)
    found = attend_absorbed(mine[0], found_key, found_value, mine[1], mask if padded else None, WIDTH, dropout)
    torch.manual_seed(1)
    parts = zip(query.chunk(clients or 1), states.chunk(clients or 1), real.chunk(clients or 1), layers, strict=True)
    expected = torch.cat([by_hand(q, *own, x, r if padded else None, dropout) for q, x, r, own in parts])
    torch.testing.assert_close(found, expected)

    slope = torch.randn(found.shape)
    found.backward(slope)  # type: ignore[no-untyped-call]
    expected.backward(slope)  # type: ignore[no-untyped-call]
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for place, stacked in enumerate((found_key, found_value)):
        grads = torch.stack([own[place].weight.grad for own in layers])  # type: ignore[misc]
        assert stacked.weight.grad is not None
        torch.testing.assert_close(stacked.weight.grad.view(grads.shape), grads)
    biases = torch.stack([own[1].bias.grad for own in layers])  # type: ignore[misc]
    assert found_value.bias.grad is not None
    torch.testing.assert_close(found_value.bias.grad.view(biases.shape), biases)
    assert found_key.bias.grad is None
    assert all(key.bias.grad.abs().max() < 1e-5 for key, _ in layers)  # type: ignore[union-attr]
