"""Linear layers whose products on a CPU are oneDNN's.

PyTorch's own go to MKL, which leaves the widest vector units of processors of other makers idle: there a training step
takes a third to nearly half less time this way, from 128 units on. Values may differ in the last bit.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 2**14
"""Entries of the smallest matrix that is worth the call: smaller ones are left to PyTorch."""
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    """``x @ weight.T + bias`` for x [..., in] and weight [out, in]; saves and computes only what somebody asks for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            None if weight is None else _product(grad, weight.t()),
            None if x is None else _product(rows.t(), x.reshape(-1, x.shape[-1]).t()),
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``; by oneDNN for large float32 matrices on a CPU, decided by shapes alone."""
    plain = x.device.type != "cpu" or weight.numel() < SMALLEST or torch.is_autocast_enabled("cpu")
    if _ONEDNN and not plain and x.dtype == weight.dtype == torch.float32:
        out: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """A layer of `torch.nn` with the product above."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return linear(x, self.weight, self.bias)


def use_onednn(module: nn.Module) -> None:
    """Make every linear layer inside a module such a `Linear`, in place."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = Linear
