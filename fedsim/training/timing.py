"""How long training steps take, forward and backward apart."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedsim import rng
from fedsim.fleet.measure_device import LEAST_STEPS, synchronise
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import initialise
from fedsim.model.local import Batch, LocalModel
from fedsim.scenario.phases import Optimizer
from fedsim.training.distillation import Taught
from fedsim.training.update import train


@dataclass
class Watch:
    """Takes the times of a training that asks it for every batch and every loss."""

    learner: LocalModel | Taught
    batch: Batch
    seconds: float
    device: str
    forward_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)

    def batches(self) -> Iterator[Batch]:
        """The same batch until the time is up; the first one, which finds everything cold, is not counted."""
        ends = float("inf")
        while len(self.whole_s) < 1 + LEAST_STEPS or time.perf_counter() < ends:
            start = time.perf_counter()
            yield self.batch
            synchronise(self.device)
            self.whole_s.append(time.perf_counter() - start)
            if len(self.whole_s) == 1:
                ends = time.perf_counter() + self.seconds

    def loss(self, batch: Batch) -> Tensor:
        """Of the batch."""
        start = time.perf_counter()
        loss = self.learner.loss(batch)
        synchronise(self.device)
        self.forward_s.append(time.perf_counter() - start)
        return loss


def timed(
    learner: LocalModel | Taught,
    model: LocalModel,
    batch: Batch,
    optimizer: Optimizer,
    clip_norm: float | None,
    seconds: float,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Train on one batch for so long; times of the steps' forward passes, and of all the rest of each step.

    Args:
        learner: whose loss counts: the model, or it with its teacher.
        model: loaded; its trained parts change.
        batch: what to train on, again and again.
        optimizer: as a client has it.
        clip_norm: likewise.
        seconds: to train for, after a first step.
    """
    watch = Watch(learner, batch, seconds, model.device.type)
    train(model, watch.batches(), optimizer, learning_rate=optimizer.learning_rate, clip_norm=clip_norm,
          loss_of=watch.loss)  # fmt: skip
    forward = watch.forward_s[1:]
    return tuple(forward), tuple(step - own for step, own in zip(watch.whole_s[1:], forward, strict=True))


def filled(shape: LocalShape, device: torch.device) -> LocalModel:
    """A local model with random weights."""
    model, draw = LocalModel(shape, device), rng.stream(0, "calibrate")
    for part in model.parts.values():
        part.flat.copy_(torch.from_numpy(initialise(part.layout, draw)))
    return model


def random_batch(model: LocalModel, samples: int, tokens: int, positions: int) -> Batch:
    """Random tokens and targets, without padding; `positions` of them are predicted by an MLM head."""
    draw, architecture, head = torch.Generator().manual_seed(0), model.shape.architecture, model.shape.head
    ids = torch.randint(architecture.vocabulary, (samples, tokens), generator=draw)
    chosen = torch.randperm(samples * tokens, generator=draw)[:positions].sort().values
    targets = ids.flatten()[chosen] if head.kind == "mlm" else torch.randint(
        head.classes, (positions,), generator=draw
    )  # fmt: skip
    places = chosen if head.kind == "mlm" and positions < samples * tokens else None
    return Batch(*(None if part is None else part.to(model.device) for part in (ids, None, places, targets)))  # type: ignore[arg-type]
