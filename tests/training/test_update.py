"""Local training against a plain loop over the model of `transformers` with `torch.optim`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from fedsim import rng
from fedsim.model import pretrained
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.scenario.phases import Optimizer
from fedsim.training.update import OptimizerState, train

A, H = Architecture("bert", 100, 16, 2, 2, 32, 24, 0.0), Head("mlm")
SGD = Optimizer(kind="sgd", learning_rate=0.1)
MOMENTUM = Optimizer(kind="sgd", learning_rate=0.1, momentum=0.9)
ADAMW = Optimizer(kind="adamw", learning_rate=1e-3, weight_decay=0.01)


def batches(count: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        ids = torch.randint(5, 100, (4, 16), generator=generator)
        positions = torch.arange(0, 64, 7)
        made.append(Batch(ids, None, positions, ids.flatten()[positions].clone()))
    return made


def groups() -> dict[str, FloatArray]:
    return {name: initialise(layout, rng.stream(3, name)) for name, layout in layouts(A, H).items()}


def local(shape: LocalShape | None = None) -> LocalModel:
    model = LocalModel(shape or LocalShape(A, H, 2, (0, 1), True, True))
    model.load({name: torch.from_numpy(values) for name, values in groups().items()}, (0, 1))
    return model


def reference(folder: Path, optimizer: Optimizer, given: list[Batch]) -> PreTrainedModel:
    """What a reader of a textbook would write."""
    pretrained.write(folder, A, H, groups())
    model: PreTrainedModel = AutoModelForMaskedLM.from_pretrained(folder)
    model.train()
    named = dict(model.named_parameters())
    decayed = [p for p in named.values() if p.ndim > 1]
    plain = [p for p in named.values() if p.ndim < 2]
    settings = [{"params": decayed, "weight_decay": optimizer.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    steps: torch.optim.Optimizer
    if optimizer.kind == "sgd":
        steps = torch.optim.SGD(settings, lr=optimizer.learning_rate, momentum=optimizer.momentum)
    else:
        steps = torch.optim.AdamW(settings, lr=optimizer.learning_rate, fused=True)
    for batch in given:
        steps.zero_grad()
        labels = torch.full(batch.ids.shape, -100).flatten()
        labels[batch.positions] = batch.targets
        model(input_ids=batch.ids, labels=labels.view(batch.ids.shape)).loss.backward()
        steps.step()
    return model


@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAMW], ids=["sgd", "momentum", "adamw"])
def test_equals_a_plain_loop(optimizer: Optimizer, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = local()
    train(model, batches(), optimizer, learning_rate=optimizer.learning_rate)
    wanted = reference(tmp_path, optimizer, batches())
    wanted.save_pretrained(tmp_path / "after")
    after = pretrained.read_groups(tmp_path / "after", A, H, "model")
    for name, part in model.parts.items():
        group = f"layer.{name}" if isinstance(name, int) else name
        assert np.abs(part.flat.numpy() - after[group]).max() < 1e-6


@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAMW], ids=["sgd", "momentum", "adamw"])
def test_kept_state_goes_on_as_if_never_stopped(optimizer: Optimizer) -> None:
    whole, halves = local(), local()
    train(whole, batches(), optimizer, learning_rate=optimizer.learning_rate)
    state: OptimizerState | None = None
    for part in (batches()[:2], batches()[2:]):
        state = train(halves, part, optimizer, learning_rate=optimizer.learning_rate, state=state).optimizer_state
    assert all(torch.equal(whole.parts[name].flat, halves.parts[name].flat) for name in whole.parts)


def test_frozen_parts_do_not_move() -> None:
    model = local(LocalShape(A, H, 2, (0,), False, True))
    before = {name: part.flat.clone() for name, part in model.parts.items()}
    train(model, batches(), ADAMW, learning_rate=1e-3)
    moved = {name for name, part in model.parts.items() if not torch.equal(part.flat, before[name])}
    assert moved == {0, "head"}


def test_loss_is_the_mean_over_predicted_targets() -> None:
    model, given = local(), batches(3)
    frozen = Optimizer(kind="sgd", learning_rate=1e-30)
    update = train(model, given, frozen, learning_rate=1e-30)
    with torch.no_grad():
        wanted = np.mean([model.loss(batch).item() for batch in given])
    assert update.loss == pytest.approx(float(wanted), rel=1e-6)


def test_clipping_bounds_the_step() -> None:
    model = local()
    before = torch.cat([part.flat.clone() for part in model.parts.values()])
    train(model, batches(1), SGD, learning_rate=1.0, clip_norm=0.01)
    moved = torch.cat([part.flat for part in model.parts.values()]) - before
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_batch_without_targets_is_passed_over() -> None:
    model = local()
    empty = Batch(torch.full((2, 8), 7), None, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    update = train(model, [empty, *batches(1)], SGD, learning_rate=0.1)
    assert np.isfinite(update.loss)
    assert all(bool(torch.isfinite(part.flat).all()) for part in model.parts.values())


def test_the_head_can_have_a_step_size_of_its_own() -> None:
    slow, quick = local(), local()
    before = {name: part.flat.clone() for name, part in slow.parts.items()}
    plain = Optimizer(kind="sgd", learning_rate=0.1)
    train(slow, batches(1), plain, learning_rate=0.1)
    train(quick, batches(1), plain.model_copy(update={"head_learning_rate": 0.4}), learning_rate=0.1)
    for name in before:
        factor = 4.0 if name == "head" else 1.0
        moved, wanted = quick.parts[name].flat - before[name], factor * (slow.parts[name].flat - before[name])
        assert torch.allclose(moved, wanted, atol=1e-6)
