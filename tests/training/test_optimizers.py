"""The same numbers as PyTorch's own, without its compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from fedsim.training import optimizers

PAIRS = [
    (optimizers.SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01, "foreach": False}),
    (optimizers.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "foreach": False}),
    (optimizers.AdamW, torch.optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "fused": True}),
]


def stepped(kind: Any, settings: dict[str, Any], steps: int, state: dict[str, Any] | None = None) -> tuple[Tensor, Any]:
    """Weights after so many steps, from where a state was left, and the state."""
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(300, generator=draw)
    optimizer: Optimizer = kind([{"params": [("flat", weights)]}], **settings)
    if state is not None:
        optimizer.load_state_dict(state)
    for _ in range(steps):
        weights.grad = torch.randn(300, generator=draw)
        optimizer.step()
    return weights, optimizer.state_dict()


@pytest.mark.parametrize(("own", "original", "settings"), PAIRS, ids=["sgd", "momentum", "adamw"])
def test_every_bit_is_that_of_pytorch(own: Any, original: Any, settings: dict[str, Any]) -> None:
    weights, state = stepped(original, settings, 3)
    found, kept = stepped(own, settings, 3)
    assert torch.equal(found, weights)
    assert not torch.equal(found, stepped(own, settings, 2)[0])
    assert str(kept) == str(state)
    assert torch.equal(stepped(own, settings, 2, kept)[0], stepped(original, settings, 2, state)[0])


@pytest.mark.slow
def test_training_imports_no_compiler() -> None:
    program = """
import sys, torch
from tests.training.test_optimizers import PAIRS, stepped
before = "torch._dynamo" in sys.modules
for own, _, settings in PAIRS:
    stepped(own, settings, 1)
print(before, "torch._dynamo" in sys.modules)
stepped(PAIRS[0][1], PAIRS[0][2], 1)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
