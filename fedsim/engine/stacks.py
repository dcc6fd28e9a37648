"""Clients of a block that are trained side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim import rng
from fedsim.data.objective import IGNORED, NumpyBatch
from fedsim.data.stacked import stack
from fedsim.engine.disk import Disk
from fedsim.engine.tasks import ClientWork, TrainBlock
from fedsim.model.architecture import LocalShape
from fedsim.model.stacked import Member, StackedModel
from fedsim.stacking import LEAST_CLIENTS
from fedsim.store.client_state import ClientStore
from fedsim.training.stacked import train_stacked
from fedsim.training.tensors import as_batch
from fedsim.training.update import Update

MOST_PADDING = 1.25
"""A stack's batches have at most so many times the tokens of the clients' own: more is slower than one by one."""
MOST_CLIENTS, MOST_STATES, MOST_LOGITS = 64, 2**19, 2**22
"""In a stack, and numbers of all their hidden states and logits in a step: more no longer fit a core's cache."""
Batches = list[NumpyBatch]
Alike = list[tuple[ClientWork, Batches]]
Models = Callable[[int], StackedModel]


@dataclass(frozen=True)
class Stack:
    """Clients that have been trained side by side; their model is that of the next stack, too."""

    works: tuple[ClientWork, ...]
    updates: list[Update]
    model: StackedModel

    def each(self) -> dict[int, tuple[Update, Member]]:
        """What each client has trained, by client."""
        clients = (work.client for work in self.works)
        return dict(zip(clients, zip(self.updates, self.model.members(), strict=True), strict=True))


def train_stacks(
    task: TrainBlock, named: Mapping[str, Tensor], batches: Callable[[ClientWork], Iterator[NumpyBatch]], models: Models
) -> Iterator[Stack]:
    """Train those clients of a block that go well together; the others are left to be trained alone.

    Args:
        task: the block.
        named: groups as clients receive them.
        batches: what a client trains on.
        models: a model of so many clients.
    """
    for together in _groups(task, batches):
        works, theirs = zip(*together, strict=True)
        model = models(len(works))
        try:
            updates = _train(task, model, named, works, theirs)
        except Exception:  # whose fault it is comes out when each of them is trained alone
            continue
        yield Stack(works, updates, model)


def _groups(task: TrainBlock, batches: Callable[[ClientWork], Iterator[NumpyBatch]]) -> Iterator[Alike]:
    """Two or more clients with as many steps to make, on batches of like sizes, above the same frozen layers."""
    alike: dict[object, Alike] = {}
    frozen = [place for place in range(task.shape.depth) if place not in task.shape.train_layers]
    for work in task.clients:
        if work.sabotage is not None:
            continue
        try:
            own = [batch for batch in batches(work) if (batch.targets != IGNORED).any()]
        except Exception:  # it will happen again where this client is trained alone, and is told of there
            continue
        alike.setdefault((len(own), *(work.slots[place] for place in frozen)), []).append((work, own))
    for together in (part for those in alike.values() for part in _parts(those, most(task.shape, those))):
        steps = list(zip(*(own for _, own in together), strict=True))
        tokens = sum(batch.ids.size for step in steps for batch in step)
        stacked = sum(_tokens(step) for step in steps)
        if len(together) > 1 and steps and stacked <= MOST_PADDING * tokens:
            yield together


def most(shape: LocalShape, those: Alike) -> int:
    """Of clients with the same plan and such batches, how many go into a stack at most."""
    batches = [batch for _, own in those for batch in own]
    words = shape.architecture.vocabulary if shape.head.kind == "mlm" else 0
    states = max((batch.ids.size for batch in batches), default=0) * shape.architecture.hidden
    logits = max((len(batch.targets) for batch in batches), default=0) * words
    return min(MOST_CLIENTS, max(LEAST_CLIENTS, min(MOST_STATES // max(states, 1), MOST_LOGITS // max(logits, 1))))


def _parts(those: Alike, largest: int) -> Iterator[Alike]:
    """As few as possible, of like numbers."""
    size = -(-len(those) // -(-len(those) // largest))
    return (those[start : start + size] for start in range(0, len(those), size))


def _tokens(step: Sequence[NumpyBatch]) -> int:
    samples, width = (max(batch.ids.shape[axis] for batch in step) for axis in (0, 1))
    return int(len(step) * samples * width)


def _train(
    task: TrainBlock,
    model: StackedModel,
    named: Mapping[str, Tensor],
    works: Sequence[ClientWork],
    batches: Sequence[Batches],
) -> list[Update]:
    disks = [Disk.open(ClientStore(task.state_folder), task, work) for work in works]
    groups = [{**named, **own} if (own := disk.private) else named for disk in disks]
    model.fill(groups, [work.slots for work in works], task.window)
    torch.manual_seed(rng.integer(task.world.seed, "dropout", task.phase, task.phase_round, works[0].client))
    updates = train_stacked(
        model,
        (as_batch(stack(step), model.device) for step in zip(*batches, strict=True)),
        task.local.optimizer,
        learning_rate=task.learning_rate,
        clip_norm=task.local.clip_norm,
        proximal=task.recipe.proximal,
    )
    if task.private:
        for disk, member, update in zip(disks, model.members(), updates, strict=True):
            disk.write(member, update)
    return updates
