"""oneDNN's products against PyTorch's own."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedsim.model import linear as module
from fedsim.model.linear import LEAST, Linear, linear, use_onednn

FULL = 2**22
"""Of a processor with full vector units, the smallest gradient of a weight that oneDNN computes."""


@pytest.fixture(params=[FULL, sys.maxsize], autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_FOR_WEIGHT", request.param)


def test_gradients_of_weights_are_onednn_s_where_vector_units_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"avx512_f": True, "avx_vnni": False, "avx512_vp2intersect": False}
    for has, full in (({}, False), (old, False), (old | {"avx_vnni": True}, True), ({"avx_vnni": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert module._full_vectors() is full


def test_a_large_gradient_of_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, own = [], module._product

    def noted(*given: torch.Tensor) -> torch.Tensor:
        calls.append(given)
        return own(*given)

    monkeypatch.setattr(module, "_product", noted)
    grad, x = torch.randn(200, 96), torch.randn(200, 256)
    torch.testing.assert_close(module.weight_gradient(grad, x), grad.t() @ x, rtol=1e-5, atol=1e-3)
    assert len(calls) == (module.LEAST_FOR_WEIGHT == FULL)


@pytest.mark.parametrize("shape", [(256,), (5, 256), (3, 7, 256), (3, 30, 256), (200, 256)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_values_and_gradients(shape: tuple[int, ...], bias: bool, wanted: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    assert 21 * 96 * 256 < LEAST <= 90 * 96 * 256 < FULL <= 200 * 96 * 256
    found: list[torch.Tensor | None] = []
    expected: list[torch.Tensor | None] = []
    for product, results in ((linear, found), (functional.linear, expected)):
        torch.manual_seed(1)
        x = torch.randn(shape, requires_grad=wanted[0])
        weight = torch.randn(96, 256, requires_grad=wanted[1])
        offset = torch.randn(96, requires_grad=wanted[1]) if bias else None
        out = product(x, weight, offset)
        (out**2).sum().backward()  # type: ignore[no-untyped-call]
        results += [out, x.grad, weight.grad, None if offset is None else offset.grad]
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)


def saved(x: torch.Tensor, weight: torch.Tensor) -> int:
    """Numbers that a product keeps for backward."""
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        linear(x, weight, None)
    return sum(kept)


def test_nothing_is_kept_that_no_gradient_needs() -> None:
    x, weight = torch.randn(LEAST // 64 // 256, 256), torch.randn(64, 256)
    assert saved(x, weight) == 0
    assert saved(x.requires_grad_(), weight) == weight.numel()
    assert saved(x.detach(), weight.requires_grad_()) == x.numel()


def test_small_products_and_other_precisions_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Product, "apply", None)
    x, weight = torch.randn(LEAST // 64 // 64, 64), torch.randn(64, 64)
    assert torch.equal(linear(x[:-1], weight, None), functional.linear(x[:-1], weight))
    with pytest.raises(TypeError):
        linear(x, weight, None)
    assert linear(x.double(), weight.double(), None).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight, None).dtype == torch.bfloat16


@pytest.mark.parametrize("rows", [2, 300, 1500])
@pytest.mark.parametrize("alike", [False, True])
def test_clients_side_by_side_are_each_for_itself(rows: int, alike: bool) -> None:
    sizes = [rows * 64 * 96, 3 * rows * 64 * 96]
    assert (sizes[0] >= LEAST, sizes[1] >= LEAST) in {(False, False), (False, True), (True, True)}
    torch.manual_seed(2)
    x, slope = torch.randn(3, rows, 64, requires_grad=True), torch.randn(3, rows, 96)
    own = torch.randn(1 if alike else 3, 96, 64).repeat(3 if alike else 1, 1, 1)
    weight, bias = own.requires_grad_(), torch.randn(1, 96).repeat(3, 1).requires_grad_()
    weight.grad = torch.zeros_like(weight)
    linear(x.view(3 * rows, 64), weight, bias, alike).backward(slope.view(3 * rows, 96))  # type: ignore[no-untyped-call]
    for client in range(3):
        alone = [each[client].detach().requires_grad_() for each in (x, weight, bias)]
        functional.linear(*alone).backward(slope[client])  # type: ignore[no-untyped-call]
        for one, other in zip((x, weight, bias), alone, strict=True):
            assert one.grad is not None
            assert other.grad is not None
            torch.testing.assert_close(one.grad[client], other.grad, rtol=1e-5, atol=1e-3)


def test_a_module_s_layers_are_replaced_in_place() -> None:
    block = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Sequential(nn.Linear(128, 200)))
    torch.manual_seed(0)
    x = torch.randn(3, 128)
    before = block(x)
    weights = [parameter.data_ptr() for parameter in block.parameters()]
    use_onednn(block)
    assert [type(layer) for layer in block.modules() if isinstance(layer, nn.Linear)] == [Linear, Linear]
    assert [parameter.data_ptr() for parameter in block.parameters()] == weights
    torch.testing.assert_close(block(x), before)
