"""Look-ups of trained tables whose gradient goes where it belongs at once.

PyTorch's own makes a table of zeros in every step, as large as the vocabulary, to add it to the gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.linear import rate_of


class _Lookup(torch.autograd.Function):
    """Rows of a table [rows, width], or of each of C clients' own table [C, rows, width] where ids are [C, ...]."""

    @staticmethod
    def forward(
        ctx: Any, asks: Tensor, ids: Tensor, table: Tensor, total: Tensor, factor: float, padding: int | None
    ) -> Tensor:
        ctx.total, ctx.factor, ctx.padding = total, factor, padding
        ctx.save_for_backward(ids)
        return functional.embedding(_places(ids, table), table.view(-1, table.shape[-1]))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        (ids,), total = ctx.saved_tensors, ctx.total
        before = None if ctx.padding is None else total[..., ctx.padding, :].clone()
        width = grad.shape[-1]
        rows = grad.reshape(-1, width)
        total.view(-1, width).index_add_(0, _places(ids, total).reshape(-1), rows, alpha=ctx.factor)
        if before is not None:
            total[..., ctx.padding, :] = before
        return (None,) * 6


def _places(ids: Tensor, table: Tensor) -> Tensor:
    """Which rows these are among those of all clients."""
    if table.dim() == 2:
        return ids
    clients, rows, _ = table.shape
    first = rows * torch.arange(clients, device=ids.device)
    return ids + first.view(-1, *(1,) * (ids.dim() - 1))


def lookup(ids: Tensor, table: Tensor, padding: int | None) -> Tensor:
    """Rows of a table that has a gradient to add to, or a rate to change by; those of the padding's id get none."""
    assert table.grad is not None
    total, factor = (table.grad, 1.0) if (rate := rate_of(table)) is None else (table.data, -rate)
    # what asks for a gradient is not the table, so that what else it gets, from a tied head, need not wait for this
    asks = torch.empty(0, requires_grad=True)
    rows: Tensor = _Lookup.apply(asks, ids, table.detach(), total, factor, padding)  # type: ignore[no-untyped-call]
    return rows


class Embedding(nn.Embedding):
    """A table of `torch.nn` with the look-up above, where it is trained."""

    def forward(self, ids: Tensor) -> Tensor:
        """[...] -> [..., width]."""
        if not self.weight.requires_grad or self.weight.grad is None:
            return super().forward(ids)
        return lookup(ids, self.weight, self.padding_idx)


def use_direct_gradients(module: nn.Module) -> None:
    """Make every table inside a module such an `Embedding`, in place."""
    for child in module.modules():
        if type(child) is nn.Embedding:
            child.__class__ = Embedding
