"""Clients side by side against the same clients one after the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsim import rng
from fedsim.data.objective import IGNORED, NumpyBatch
from fedsim.data.stacked import stack
from fedsim.model import linear
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import LocalModel
from fedsim.model.stacked import StackedModel
from fedsim.model.width import Window
from fedsim.plan import Width, group
from fedsim.scenario.phases import Optimizer
from fedsim.training.recipe import Recipe
from fedsim.training.stacked import train_stacked
from fedsim.training.tensors import as_batch
from fedsim.training.update import train

CLIENTS, CPU = 3, torch.device("cpu")
OPTIMIZERS = {
    "sgd": Optimizer(kind="sgd", learning_rate=0.1),
    "momentum": Optimizer(kind="sgd", learning_rate=0.1, momentum=0.9),
    "adamw": Optimizer(learning_rate=1e-3, eps=1e-4, weight_decay=0.1, head_learning_rate=1e-2),
}
PLANS = {
    "everything": ((0, 1), True, True),
    "above frozen embeddings": ((0, 1), False, True),
    "above a frozen layer": ((1,), False, True),
    "a layer under a frozen one": ((0,), False, False),
    "head": ((), False, True),
    "all but the head": ((0, 1), True, False),
}
HEADS = ["mlm", "all positions", "pooler", "linear", "mean", "tokens"]


def architecture(family: str = "bert", hidden: int = 16) -> Architecture:
    assert family in ("bert", "distilbert")
    return Architecture(family, 90, hidden, 2, 2, 2 * hidden, 24, 0.0)  # type: ignore[arg-type]


def batch(head: str, client: int, step: int) -> NumpyBatch:
    """Clients have other numbers of samples, tokens and predicted positions."""
    draw = rng.stream(2, head, client, step)
    samples, width = 2 + (client + step) % 3, 8 * (1 + (client + 2 * step) % 2)
    ids = draw.integers(5, 90, (samples, width))
    lengths = draw.integers(3, width + 1, samples)
    lengths[0] = width
    ids[np.arange(width) >= lengths[:, None]] = 0
    if head in ("pooler", "linear", "mean"):
        return NumpyBatch(ids, lengths, None, draw.integers(0, 4, samples))
    targets = draw.integers(0, 4 if head == "tokens" else 90, ids.size)
    targets[(np.arange(width) >= lengths[:, None]).ravel()] = IGNORED
    if head in ("tokens", "all positions"):
        return NumpyBatch(ids, lengths, None, targets)
    chosen = np.flatnonzero((targets != IGNORED) & (draw.random(ids.size) < 0.4))
    return NumpyBatch(ids, lengths, chosen, targets[chosen])


def head_of(name: str) -> Head:
    kind = "mlm" if name == "all positions" else name
    return Head(kind, 0 if kind == "mlm" else 4)  # type: ignore[arg-type]


def agree(
    shape: LocalShape,
    head: str,
    optimizer: Optimizer,
    clip_norm: float | None = None,
    proximal: float = 0.0,
    slots: tuple[tuple[int, ...], ...] = ((0, 1),) * CLIENTS,
    window: Window | None = None,
    own: bool = False,
) -> None:
    """Train both ways and compare weights and losses."""
    torch.set_num_threads(1)
    whole = shape.architecture if window is None else window.architecture
    shared = {
        name: torch.from_numpy(initialise(layout, rng.stream(3, name)))
        for name, layout in layouts(whole, shape.head).items()
    }
    groups = [{**shared, "head": shared["head"] + 0.01 * client} if own else shared for client in range(CLIENTS)]
    steps = [[batch(head, client, step) for client in range(CLIENTS)] for step in range(3)]
    stacked, alone = StackedModel(shape, CLIENTS), LocalModel(shape)
    stacked.fill(groups, slots, window)
    rate = optimizer.learning_rate
    updates = train_stacked(
        stacked,
        [as_batch(stack(step), CPU) for step in steps],
        optimizer,
        learning_rate=rate,
        clip_norm=clip_norm,
        proximal=proximal,
    )
    for client, (update, member) in enumerate(zip(updates, stacked.members(), strict=True)):
        alone.load(groups[client], slots[client], window)
        before = {name: part.flat.clone() for name, part in alone.trained.items()}
        wanted = train(
            alone,
            [as_batch(step[client], CPU) for step in steps],
            optimizer,
            learning_rate=rate,
            clip_norm=clip_norm,
            recipe=Recipe(proximal=proximal),
        )
        assert update.steps == wanted.steps == 3
        assert update.loss == pytest.approx(wanted.loss, rel=1e-5)
        assert list(member.trained) == list(alone.trained)
        for name, part in alone.trained.items():
            change = (part.flat - before[name]).norm()
            assert change > 1e-4, group(name, slots[client])
            assert (member.trained[name].flat - part.flat).norm() < 2e-4 * change, group(name, slots[client])


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_every_head(family: str, head: str, everywhere: bool, optimizer: str) -> None:
    """Plain SGD changes most matrices on the way back, and some, without keys and values, after it."""
    answers = replace(head_of(head), everywhere=everywhere)
    agree(LocalShape(architecture(family), answers, 2, (0, 1), True, True), head, OPTIMIZERS[optimizer])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("head", ["mlm", "pooler"])
def test_every_plan(plan: str, head: str) -> None:
    agree(LocalShape(architecture(), head_of(head), 2, *PLANS[plan]), head, OPTIMIZERS["sgd"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_with_clipping_and_a_proximal_term(optimizer: str) -> None:
    shape = LocalShape(architecture(), head_of("mlm"), 2, (0, 1), True, True)
    agree(shape, "mlm", OPTIMIZERS[optimizer], clip_norm=0.05, proximal=0.5)


@pytest.mark.parametrize("head", HEADS)
def test_matrices_that_are_left_to_onednn(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_pays", lambda x, weight, least=0: linear.plain_float32(x))
    shape = LocalShape(architecture(hidden=128), head_of(head), 2, (0, 1), True, True)
    agree(shape, head, OPTIMIZERS["sgd"])


def test_clients_with_layers_and_heads_of_their_own() -> None:
    shape = LocalShape(architecture(), head_of("pooler"), 2, (1,), False, True)
    agree(shape, "pooler", OPTIMIZERS["sgd"], slots=((0, 0), (0, 1), (0, 1)), own=True)


def test_a_window_of_wider_layers() -> None:
    whole = architecture()
    window = Window.of(whole, Width(rate=0.5, roll_units=1), 1)
    shape = LocalShape(whole.narrow(0.5), head_of("pooler"), 2, (0, 1), True, True, scale=2.0)
    agree(shape, "pooler", OPTIMIZERS["sgd"], window=window)


def test_a_client_that_is_not_finite_leaves_the_others_alone() -> None:
    shape = LocalShape(architecture(), head_of("mlm"), 2, (0, 1), True, True)
    groups = {
        name: torch.from_numpy(initialise(layout, rng.stream(3, name)))
        for name, layout in layouts(shape.architecture, shape.head).items()
    }
    model = StackedModel(shape, CLIENTS)
    found = []
    for bad in (1.0, float("nan")):
        own = [groups, {**groups, "head": groups["head"] * bad}, groups]
        model.fill(own, [(0, 1)] * CLIENTS)
        step = as_batch(stack([batch("mlm", client, 0) for client in range(CLIENTS)]), CPU)
        train_stacked(model, [step], OPTIMIZERS["sgd"], learning_rate=0.1)
        found.append(model.members())
    for client in (0, 2):
        for name, part in found[0][client].trained.items():
            assert torch.equal(part.flat, found[1][client].trained[name].flat)
    assert torch.isnan(found[1][1].trained["head"].flat).all()
