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


class _Products(torch.autograd.Function):
    """The same for each of C clients: x [C, n, in], weight [C, out, in], bias [C, out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        return torch.stack([_product(*own) for own in zip(x, weight, bias, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        return (
            None if weight is None else torch.stack([_product(g, w.t()) for g, w in zip(grad, weight, strict=True)]),
            None if x is None else torch.stack([_product(g.t(), rows.t()) for g, rows in zip(grad, x, strict=True)]),
            grad.sum(1) if ctx.needs_input_grad[2] else None,
        )


def _fast(x: Tensor, weight: Tensor) -> bool:
    """Large float32 matrices on a CPU."""
    large = weight.shape[-1] * weight.shape[-2] >= SMALLEST and not torch.is_autocast_enabled("cpu")
    return _ONEDNN and large and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32


def plain_float32(x: Tensor) -> bool:
    """Whether this is computed on a CPU as it stands: what the three functions below are for."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight.T + bias`` without automatic differentiation, [n, in] -> [n, out]."""
    return _product(x, weight, bias) if _fast(x, weight) else functional.linear(x, weight, bias)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of x, [n, in], from that of the product, [n, out]."""
    return _product(grad, weight.t()) if _fast(grad, weight) else grad @ weight


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the weight, [out, in], from that of the product, [n, out], and from x, [n, in]."""
    return _product(grad.t(), x.t()) if _fast(grad, weight) else grad.t() @ x


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``; by oneDNN for large float32 matrices on a CPU, decided by shapes alone.

    With a weight [C, out, in] or a bias [C, out] the rows of x are those of C clients, and each has its own.
    """
    if weight.dim() == 3 or (bias is not None and bias.dim() == 2):
        assert bias is not None
        clients = len(weight) if weight.dim() == 3 else len(bias)
        rows = x.reshape(clients, -1, x.shape[-1])
        return _clients(rows, weight, bias.expand(clients, -1)).view(*x.shape[:-1], -1)
    if _fast(x, weight):
        out: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return functional.linear(x, weight, bias)


def _clients(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.dim() == 2:
        return linear(x, weight, None) + bias[:, None]
    if _fast(x, weight):
        out: Tensor = _Products.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


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
