"""A client's local training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from fedsim.model.layout import FloatArray
from fedsim.model.local import Batch, LocalModel
from fedsim.model.part import Part
from fedsim.plan import CutType, PartName, is_head
from fedsim.scenario.phases import Optimizer
from fedsim.training.optimizers import SGD, AdamW
from fedsim.training.recipe import Recipe
from fedsim.training.split import ClientSide, ServerSide, Traffic, step

OptimizerState = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """What local training leaves, besides the weights in the model itself."""

    loss: float
    """Mean training loss over the predicted targets."""
    optimizer_state: OptimizerState
    """By part, piece of it and name: `3.decayed.exp_avg`."""
    steps: int
    """Optimizer steps that were made."""
    control: Mapping[str, Tensor] = field(default_factory=dict)
    """The client's control variates from now on, by group; only with SCAFFOLD."""
    control_changes: Mapping[str, Tensor] = field(default_factory=dict)
    """How they have changed, under the names that this is sent by."""
    traffic: Traffic = field(default_factory=Traffic)
    """What has crossed the cut of a split model."""
    importance: FloatArray | None = None
    """How much the loss of the model as it was before depended on each attention head; None: nobody asked."""


def train(
    model: LocalModel,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    *,
    learning_rate: float,
    clip_norm: float | None = None,
    state: OptimizerState | None = None,
    autocast: bool = False,
    schedule: Iterable[float] | None = None,
    recipe: Recipe | None = None,
    corrections: Sequence[Tensor] = (),
    cut: CutType | None = None,
    loss_of: Callable[[Batch], Tensor] | None = None,
) -> Update:
    """Train the model in place on the batches, once each, in order.

    Args:
        model: loaded; its trained parts change.
        batches: what to train on.
        optimizer: its kind and constants.
        learning_rate: step size; the head's own, where the optimizer has one, goes before it.
        clip_norm: largest norm of the gradient over all trained parameters.
        state: optimizer state left by an earlier call; parts that it does not know start anew.
        autocast: run forward and backward in bfloat16.
        schedule: factor of the learning rate for every step; None: 1.
        recipe: what the method adds; None: nothing.
        corrections: added to the gradient in every step, one vector for each trained part.
        cut: train client's and server's side apart, with such messages between them; each clips its own gradient.
        loss_of: the loss of a batch; None: the model's own.
    """
    steps = build(model.trained, optimizer, learning_rate)
    if state:
        restore(steps, state)
    factors = None if schedule is None else iter(schedule)
    rates = [group["lr"] for group in steps.param_groups]
    sides, traffic = sides_of(model.trained, cut is not None), Traffic()
    client, server = (
        (None, None) if cut is None else (ClientSide(model, cut, autocast), ServerSide(model, cut, autocast))
    )
    context: AbstractContextManager[object] = (
        torch.autocast(model.device.type, dtype=torch.bfloat16) if autocast else nullcontext()
    )
    proximal = recipe.proximal if recipe else 0.0
    anchors = [part.flat.clone() for part in model.trained.values()] if proximal else []
    total, targets, made = torch.zeros((), dtype=torch.float64), 0, 0
    model.module.train()
    for batch in batches:
        predicted = int((batch.targets >= 0).sum())
        if not predicted:  # given targets may leave a batch without any: its mean loss does not exist
            continue
        model.zero_grad()
        if client is not None and server is not None:
            loss = step(client, server, batch, traffic)
        else:
            with context:
                loss = (loss_of or model.loss)(batch)
            loss.backward()  # type: ignore[no-untyped-call]
        for part, anchor in zip(model.trained.values(), anchors, strict=bool(anchors)):
            # the gradient of the penalty, without a graph over the anchor
            assert part.grad is not None
            part.grad.add_(part.flat - anchor, alpha=proximal)
        for part, correction in zip(model.trained.values(), corrections, strict=bool(corrections)):
            assert part.grad is not None
            part.grad.add_(correction)
        if clip_norm is not None:
            for grads in sides:
                clip(grads, clip_norm)
        if factors is not None:
            factor = next(factors)
            for group, rate in zip(steps.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        steps.step()
        total += loss.detach().to("cpu", torch.float64) * predicted
        targets += predicted
        made += 1
    return Update(float(total) / max(targets, 1), state_of(steps), made, traffic=traffic)


def rate_of(part: PartName, optimizer: Optimizer, learning_rate: float) -> float:
    """The step size of a part: heads may have their own."""
    return (optimizer.head_learning_rate or learning_rate) if is_head(part) else learning_rate


def sides_of(parts: Mapping[PartName, Part], split: bool) -> list[list[Tensor]]:
    """Gradients that are clipped together: all, or those of the client's parts and those of the server's."""
    grads = {name: part.grad for name, part in parts.items() if part.grad is not None}
    if not split:
        return [list(grads.values())]
    below = [grad for name, grad in grads.items() if isinstance(name, int)]
    return [[grad for name, grad in grads.items() if not isinstance(name, int)], below]


def piece(part: PartName) -> str:
    """What the names of a part's optimizer state begin with."""
    return f"{part}."


def build(parts: Mapping[PartName, Part], optimizer: Optimizer, learning_rate: float) -> torch.optim.Optimizer:
    """One optimizer over the parts' vectors: elementwise the same as over the tensors inside them, and quicker."""
    groups: dict[tuple[float, float], list[tuple[str, Tensor]]] = {}
    for name, part in parts.items():
        ends = (0, part.decayed, part.size)
        kinds = (("decayed", optimizer.weight_decay), ("plain", 0.0))
        for (start, stop), (kind, decay) in zip(pairwise(ends), kinds, strict=True):
            if start < stop and part.grad is not None:
                values = part.flat[start:stop].detach()
                values.grad = part.grad[start:stop]
                rate = rate_of(name, optimizer, learning_rate)
                groups.setdefault((rate, decay), []).append((piece(name) + kind, values))
    settings = [{"params": pieces, "lr": rate, "weight_decay": decay} for (rate, decay), pieces in groups.items()]
    if optimizer.kind == "sgd":
        return SGD(settings, momentum=optimizer.momentum, foreach=False)
    return AdamW(settings, betas=optimizer.betas, eps=optimizer.eps, fused=True)


def clip(grads: list[Tensor], most: float) -> None:
    """Scale the gradients down to this norm, where theirs is larger."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
    scale = (most / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale)


def state_of(optimizer: torch.optim.Optimizer) -> OptimizerState:
    """An optimizer's state, flat: the tensors themselves, by part, piece of it and name: `3.decayed.exp_avg`."""
    names = _names(optimizer)
    return {
        f"{names[index]}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore(optimizer: torch.optim.Optimizer, state: OptimizerState) -> None:
    """Go on from a state that `state_of` gave; parts that it does not know start anew."""
    names = _names(optimizer)
    whole = optimizer.state_dict()
    nested: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        own, _, name = key.rpartition(".")
        if own in names:  # a part that is no longer trained leaves its state behind
            nested.setdefault(names.index(own), {})[name] = value
    optimizer.load_state_dict({**whole, "state": nested})


def _names(optimizer: torch.optim.Optimizer) -> list[str]:
    return [name for group in optimizer.param_groups for name in group["param_names"]]
