"""Linear layers whose products on a CPU are oneDNN's.

PyTorch's own go to MKL, which leaves the widest vector units of processors of other makers idle: where these are full
ones, a large product takes half the time this way, elsewhere 5 to 15 % less. A call costs as much as 2^20
multiplications. Gradients of weights are products of transposed matrices, which oneDNN copies first: only full vector
units make up for that. Values may differ in the last bit, and so from one kind of processor to another.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _full_vectors() -> bool:
    """Whether the processor has a new one's instructions for 512 bits: AMD's compute in one go since Zen 5 has them."""
    # the oldest releases of PyTorch that will do have no such function
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(has.get("avx512_f") and (has.get("avx_vnni") or has.get("avx512_vp2intersect")))


LEAST = 2**21
"""Multiplications of the smallest product that is worth the call: what is smaller is left to PyTorch."""
LEAST_FOR_WEIGHT = 2**22 if _full_vectors() else sys.maxsize
"""Of the smallest gradient of a weight."""
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
            None if x is None else weight_gradient(rows, x.reshape(-1, x.shape[-1])),
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out


class _Stacked(torch.autograd.Function):
    """The same for each of C clients: x [C, n, in], weight [C, out, in], bias [C, out].

    The weights' gradient is added to where it belongs at once, without a copy on the way; a `stale` one is overwritten.
    With a `rate` the weights themselves change by it, as a step of plain SGD changes them, and there is no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, alike: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.alike, ctx.first, ctx.rate = weight, alike, is_stale(weight), rate_of(weight)
        # the way back through another product would find the weights changed
        assert ctx.first or ctx.rate is None
        mark(weight, stale=False, rate=ctx.rate)
        if alike:
            return product(x.flatten(0, 1), weight[0], bias[0]).view(*x.shape[:2], -1)
        if _pays(x[0], weight[0]):
            return torch.stack([_product(*own) for own in zip(x, weight, bias, strict=True)])
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        (x,), weight, into = ctx.saved_tensors, ctx.weight, None
        if ctx.needs_input_grad[0] and ctx.alike:
            into = input_gradient(grad.flatten(0, 1), weight[0]).view(x.shape)
        elif ctx.needs_input_grad[0]:
            each = zip(grad, weight, strict=True)
            fast = _pays(grad[0], weight[0])
            into = torch.stack([_product(g, own.t()) for g, own in each]) if fast else torch.bmm(grad, weight)
        total, factor = (weight.grad, 1.0) if ctx.rate is None else (weight.data, -ctx.rate)
        before = 0.0 if ctx.first and ctx.rate is None else 1.0
        if _pays(x[0], weight[0], LEAST_FOR_WEIGHT):
            for own, g, rows in zip(total, grad, x, strict=True):
                change = _product(g.t(), rows.t())
                own.add_(change, alpha=factor) if before else own.copy_(change)
        else:
            total.baddbmm_(grad.transpose(1, 2), x, beta=before, alpha=factor)
        return into, None, grad.sum(1) if ctx.needs_input_grad[2] else None, None


def mark(weight: Tensor, *, stale: bool, rate: float | None = None) -> None:
    """Say whether the weight's gradient is one of before, for its first product to overwrite in the way back.

    With a learning rate there will be none: the way back changes the weight itself, by -rate times its gradient.
    """
    weight.stale, weight.rate = stale, rate  # type: ignore[attr-defined]


def is_stale(weight: Tensor) -> bool:
    """Whether the weight's gradient is one of before."""
    return getattr(weight, "stale", False)


def rate_of(weight: Tensor) -> float | None:
    """The learning rate of a weight that changes in the way back."""
    return getattr(weight, "rate", None)


def _pays(x: Tensor, weight: Tensor, least: int = LEAST) -> bool:
    """Whether the product of rows [..., in] or [..., out] and a weight [out, in] is a large one on a CPU."""
    rows = x.numel() // x.shape[-1]
    return _ONEDNN and rows * weight.numel() >= least and weight.dtype == torch.float32 and plain_float32(x)


def plain_float32(x: Tensor) -> bool:
    """Whether this is computed on a CPU as it stands: what the three functions below are for."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight.T + bias`` without automatic differentiation, [n, in] -> [n, out]."""
    return _product(x, weight, bias) if _pays(x, weight) else functional.linear(x, weight, bias)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of x, [n, in], from that of the product, [n, out]."""
    return _product(grad, weight.t()) if _pays(grad, weight) else grad @ weight


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight, [out, in], from that of the product, [n, out], and from x, [n, in]."""
    return _product(grad.t(), x.t()) if _pays(grad.t(), x.t(), LEAST_FOR_WEIGHT) else grad.t() @ x


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, alike: bool = False) -> Tensor:
    """``x @ weight.T + bias``; by oneDNN for large float32 matrices on a CPU, decided by sizes alone.

    With a weight [C, out, in] or a bias [C, out] the rows of x are those of C clients, and each has its own. While they
    are all `alike`, one product does for all of them.
    """
    if weight.dim() == 3 or (bias is not None and bias.dim() == 2):
        assert bias is not None
        clients = len(weight) if weight.dim() == 3 else len(bias)
        rows, own = x.reshape(clients, -1, x.shape[-1]), bias.expand(clients, -1)
        if weight.dim() == 2:
            out: Tensor = linear(rows, weight, None) + own[:, None]
        else:
            out = _Stacked.apply(rows, weight, own, alike)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], -1)
    if _pays(x, weight):
        out = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """A layer of `torch.nn` with the product above."""

    alike = False

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return linear(x, self.weight, self.bias, self.alike)


def use_onednn(module: nn.Module) -> None:
    """Make every linear layer inside a module such a `Linear`, in place."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = Linear
