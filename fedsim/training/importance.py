"""How much the loss depends on each attention head (Michel, Levy, Neubig 2019, arXiv 1905.10650)."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.layout import FloatArray
from fedsim.model.local import Batch, LocalModel


def head_importance(model: LocalModel, batches: Iterable[Batch], *, autocast: bool = False) -> FloatArray:
    """I_h = E |dl / dxi_h| of every head h, layer after layer from the bottom up, float32 [heads of all layers].

    The output of each head is multiplied by a gate xi_h = 1, one for every sample, so that the absolute value is taken
    before samples are summed. l is the summed loss of a sample's targets; the sum over samples is divided by the number
    of all targets. Nothing is dropped out, no random number is drawn, and the model is left as it was, in evaluation
    mode.
    """
    heads = [model.shape.architecture.heads_in(i) for i in range(model.shape.depth)]
    totals = [torch.zeros(n, dtype=torch.float64) for n in heads]
    context: AbstractContextManager[object] = (
        torch.autocast(model.device.type, dtype=torch.bfloat16) if autocast else nullcontext()
    )
    targets = 0
    model.module.eval()
    with gates(model) as opened:
        for batch in batches:
            predicted = int((batch.targets >= 0).sum())
            if not predicted:
                continue
            with context:
                logits = model.answers(model.hidden(batch), batch)  # a gate is a sample's: at all of its positions
            loss = functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
            for total, gradient in zip(totals, torch.autograd.grad(loss, opened), strict=True):
                total += gradient.abs().to("cpu", torch.float64).sum(0)
            targets += predicted
    return (torch.cat(totals) / max(targets, 1)).numpy().astype(np.float32)


@contextmanager
def gates(model: LocalModel) -> Iterator[list[Tensor]]:
    """Within, each forward pass leaves here the gates that it put on the heads, [B, heads] for each layer.

    Parameters have no gradients meanwhile: computing them would cost as much again.
    """
    opened: list[Tensor] = []
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    with ExitStack() as stack:
        for place, module in enumerate(model.head_mixers):
            heads = model.shape.architecture.heads_in(place)
            stack.callback(module.register_forward_pre_hook(partial(_gated, opened, place, heads)).remove)
        for parameter in trained:
            parameter.requires_grad_(False)
            stack.callback(parameter.requires_grad_, True)
        yield opened


def _gated(opened: list[Tensor], place: int, heads: int, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Put a gate of each sample on each head's part of what goes into the matrix behind them."""
    states = inputs[0].view(*inputs[0].shape[:-1], heads, -1)  # [B, L, heads, size]
    gate = torch.ones(len(states), heads, device=states.device, requires_grad=True)
    opened[place:] = [gate]
    return ((states * gate[:, None, :, None]).flatten(-2),)
