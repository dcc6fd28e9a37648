"""The importance of heads against its definition: one sample at a time, one gate at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsim import rng
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.training.importance import head_importance

BERT = Architecture("bert", 40, 16, 2, 4, 32, 12, 0.1)
ARCHITECTURES = [BERT, replace(BERT, family="distilbert"), replace(BERT, kept_heads=((0, 1, 3), (2,)))]


def loaded(a: Architecture, head: Head) -> LocalModel:
    model = LocalModel(LocalShape(a, head, a.layers, (0, 1), True, True))
    groups = {
        name: torch.from_numpy(initialise(layout, rng.stream(2, name)) * np.float32(5.0))
        for name, layout in layouts(a, head).items()
    }
    model.load(groups, (0, 1))
    return model


def batches(kind: str) -> list[Batch]:
    """Samples of two batches; some of the first one are shorter."""
    draw = rng.stream(4, "batches")
    found = []
    for samples, length in ((3, 8), (2, 5)):
        ids = torch.from_numpy(draw.integers(5, 40, (samples, length)))
        real = torch.ones(samples, length, dtype=torch.bool)
        real[0, 4:] = False
        if kind == "mean":
            found.append(Batch(ids, real, None, torch.from_numpy(draw.integers(0, 3, samples))))
            continue
        chosen = torch.arange(0, samples * length, 3)[torch.arange(0, samples * length, 3) % length < 4]
        found.append(Batch(ids, real, chosen, torch.from_numpy(draw.integers(5, 40, len(chosen)))))
    return found


def alone(batch: Batch, sample: int) -> Batch:
    length = batch.ids.shape[1]
    assert batch.real is not None
    rows = slice(sample, sample + 1)
    if batch.positions is None:
        return Batch(batch.ids[rows], batch.real[rows], None, batch.targets[rows])
    own = (batch.positions >= sample * length) & (batch.positions < (sample + 1) * length)
    return Batch(batch.ids[rows], batch.real[rows], batch.positions[own] - sample * length, batch.targets[own])


@pytest.mark.parametrize("a", ARCHITECTURES, ids=["bert", "distilbert", "pruned"])
@pytest.mark.parametrize("head", [Head("mlm"), Head("mean", 3)], ids=lambda head: head.kind)
def test_it_is_the_mean_absolute_slope_of_the_loss_at_each_gate(a: Architecture, head: Head) -> None:
    model = loaded(a, head)
    given = batches(head.kind)
    found = head_importance(model, given)
    assert found.dtype == np.float32
    assert found.shape == (sum(a.heads_in(i) for i in range(2)),)

    gates: dict[nn.Module, Tensor] = {}

    def shut(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        return (inputs[0] * gates[module],) if module in gates else None

    for module in model.head_mixers:
        module.register_forward_pre_hook(shut)
    model.module.double()
    model.module.eval()
    place = 0
    for layer, module in enumerate(model.head_mixers):
        for h in range(a.heads_in(layer)):
            total, targets = 0.0, 0
            for batch in given:
                for sample in range(len(batch.ids)):
                    one = alone(batch, sample)
                    losses = []
                    for step in (-1e-4, 1e-4):
                        values = torch.ones(a.heads_in(layer), a.head_size, dtype=torch.float64)
                        values[h] += step
                        gates[module] = values.flatten()
                        logits = model.logits(one)
                        losses.append(nn.functional.cross_entropy(logits, one.targets, reduction="sum").item())
                    total += abs(losses[1] - losses[0]) / 2e-4
                targets += len(batch.targets)
            gates.clear()
            assert found[place] == pytest.approx(total / targets, rel=1e-3, abs=1e-6)
            place += 1


def test_it_changes_neither_the_model_nor_the_random_numbers_to_come() -> None:
    model = loaded(BERT, Head("mean", 3))
    before = {name: part.flat.clone() for name, part in model.parts.items()}
    state = torch.get_rng_state()
    first = head_importance(model, batches("mean"))
    assert np.array_equal(first, head_importance(model, batches("mean")))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], part.flat) for name, part in model.parts.items())
    assert all(part.grad is not None and not part.grad.any() for part in model.parts.values())
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    model.module.train()
    model.loss(batches("mean")[0]).backward()  # type: ignore[no-untyped-call]
    assert all(part.grad is not None and bool(part.grad.any()) for part in model.parts.values())


def test_batches_do_not_matter_and_those_without_targets_are_passed_over() -> None:
    model = loaded(BERT, Head("mlm"))
    (first, second) = batches("mlm")
    apart = [alone(batch, i) for batch in (first, second) for i in range(len(batch.ids))]
    together = head_importance(model, [first, second])
    assert np.allclose(together, head_importance(model, apart), rtol=1e-5)
    nothing = Batch(first.ids, first.real, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    assert np.array_equal(together, head_importance(model, [first, nothing, second]))
    assert not head_importance(model, [nothing]).any()
