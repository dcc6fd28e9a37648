"""The local training of several clients at once."""

from collections.abc import Iterable

import torch

from fedsim.model.local import Batch
from fedsim.model.stacked import StackedModel
from fedsim.scenario.phases import Optimizer
from fedsim.training.update import Update, build, rate_of


def train_stacked(
    model: StackedModel,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    *,
    learning_rate: float,
    clip_norm: float | None = None,
    proximal: float = 0.0,
) -> list[Update]:
    """Train all clients in place; what `fedsim.training.update.train` does, a step of each at the same time.

    Args:
        model: loaded; its trained parts change.
        batches: stacked; every client predicts something in every one.
        optimizer: its kind and constants; it starts anew.
        learning_rate: step size; the head's own, where the optimizer has one, goes before it.
        clip_norm: largest norm of each client's gradient over all trained parameters.
        proximal: FedProx's mu.

    Returns:
        An update for each client.
    """
    # without a momentum and the like, matrices can change on the way back, and their gradients are never written
    direct = optimizer.plain and clip_norm is None and not proximal
    model.descend({name: rate_of(name, optimizer, learning_rate) for name in model.trained} if direct else {})
    steps = model if direct else build(model.trained, optimizer, learning_rate)
    anchors = [part.flat.clone() for part in model.trained.values()] if proximal else []
    total = torch.zeros(model.clients, dtype=torch.float64)
    targets, made = torch.zeros(model.clients, dtype=torch.int64), 0
    model.module.train()
    for batch in batches:
        model.zero_grad()
        losses = model.losses(batch)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for part, anchor in zip(model.trained.values(), anchors, strict=bool(anchors)):
            assert part.grad is not None
            part.grad.add_(part.flat - anchor, alpha=proximal)
        if clip_norm is not None:
            model.clip(clip_norm)
        steps.step()
        if not made:
            model.alike(False)
        predicted = model.predicted(batch).cpu()
        total += losses.detach().to("cpu", torch.float64) * predicted
        targets += predicted
        made += 1
    means = total / targets.clamp(min=1)
    return [Update(loss, {}, made) for loss in means.tolist()]
