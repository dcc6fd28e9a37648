"""The loss of masked-language modelling as one step of automatic differentiation.

Logits are by far the largest numbers of a small model: positions times words. PyTorch's own loss keeps their logarithms
and makes a gradient of zeros, then another; here the shares themselves become the gradient, in place.
"""

from typing import Any

import torch
from torch import Tensor

from fedsim.model.linear import input_gradient, product, weight_gradient


class _TiedLoss(torch.autograd.Function):
    """Mean cross-entropy of ``states @ words.T + bias``."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, words: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        logits = product(states, words, bias)
        real = targets >= 0
        index = targets.clamp(min=0)[:, None]
        best, own = logits.amax(1), logits.gather(1, index)[:, 0]
        shares = torch.softmax(logits, 1)
        # log of the sum over words, from the largest share: that one is never 0
        losses, scale = best - own - shares.amax(1).log(), real / real.sum()
        wants_states, wants_words, wants_bias = ctx.needs_input_grad[:3]
        if wants_states or wants_words or wants_bias:
            shares.scatter_add_(1, index, torch.full_like(index, -1, dtype=shares.dtype))
            ctx.save_for_backward(shares, scale, states if wants_words else None, words)
        return (losses * scale).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        shares, scale, states, words = ctx.saved_tensors
        # in place: logits are by far the largest numbers of a small model, and nobody needs them again
        slope = shares.mul_((scale * grad)[:, None])
        return (
            input_gradient(slope, words) if ctx.needs_input_grad[0] else None,
            None if states is None else weight_gradient(slope, states),
            slope.sum(0) if ctx.needs_input_grad[2] else None,
            None,
        )


def tied_loss(states: Tensor, words: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the targets that are not negative; the logits are ``states @ words.T + bias``.

    Args:
        states: [P, hidden].
        words: [vocabulary, hidden].
        bias: [vocabulary].
        targets: [P].
    """
    out: Tensor = _TiedLoss.apply(states, words, bias, targets)  # type: ignore[no-untyped-call]
    return out
