"""What a client finds on its own disk when a round begins, and what it leaves there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsim.engine.tasks import ClientWork, TrainBlock
from fedsim.model.part import Weights
from fedsim.plan import CONTROL, PartName, group
from fedsim.store.atomic import Array
from fedsim.store.client_state import ClientStore
from fedsim.training.update import Update, piece

_OPTIMIZER, _PRIVATE, _BASE = "optimizer/", "private/", "base/"


@dataclass(frozen=True)
class Disk:
    """One client's disk in one round.

    A private part counts as long as the global group that it was first taken from is the same: a new head, say, makes
    every private one before it void. An optimizer's state counts for its plan and within its stage, or longer where the
    method says so; a control variate within its stage.
    """

    store: ClientStore
    task: TrainBlock
    work: ClientWork
    stored: dict[str, Array]

    @classmethod
    def open(cls, store: ClientStore, task: TrainBlock, work: ClientWork) -> Self:
        """Read what the client left after the round that the task names."""
        return cls(store, task, work, store.read(work.client, work.state_round) or {})

    @property
    def private(self) -> dict[str, Tensor]:
        """The client's own version of its private groups, by group."""
        groups = self._groups(self.task.private + self.task.resumed)
        return private(self.stored, {name: self._version(name) for name in groups})

    @property
    def optimizer(self) -> dict[str, Tensor]:
        """State of the optimizer; empty where it starts anew. A layer that was copied takes the state of its source."""
        plan = self.stored.get("plan")
        if not self.task.keep_optimizer or self.work.state_round < self.task.state_first or plan is None:
            return {}
        if int(plan[0]) != self.task.plan:
            return {}
        found = {
            name.removeprefix(_OPTIMIZER): torch.from_numpy(np.array(array))
            for name, array in self.stored.items()
            if name.startswith(_OPTIMIZER)
        }
        for place, source in self.work.copied.items():
            mine, other = piece(place), piece(source)
            found |= {mine + n.removeprefix(other): a.clone() for n, a in found.items() if n.startswith(other)}
        return found

    @property
    def control(self) -> dict[str, Tensor]:
        """The client's own control variates, by group."""
        if self.work.state_round < self.task.state_first:
            return {}
        return {
            name.removeprefix(CONTROL): torch.from_numpy(np.array(array))
            for name, array in self.stored.items()
            if name.startswith(CONTROL)
        }

    def write(self, model: Weights, update: Update) -> None:
        """Leave what is needed next time; private parts that this round has nothing to do with stay as they are."""
        sent = {kind + name for kind in (_PRIVATE, _BASE) for name in self._groups(self.task.resumed)}
        left = {name: array for name, array in self.stored.items() if name not in sent}
        arrays = {name: array for name, array in left.items() if not name.startswith((_OPTIMIZER, CONTROL))}
        arrays |= {CONTROL + name: values.cpu().numpy() for name, values in update.control.items()}
        arrays["plan"] = np.array([self.task.plan], np.int64)
        if self.task.keep_optimizer:
            arrays |= {_OPTIMIZER + name: tensor.cpu().numpy() for name, tensor in update.optimizer_state.items()}
        for part, name in zip(self.task.private, self._groups(self.task.private), strict=True):
            arrays[_PRIVATE + name] = model.parts[part].flat.cpu().numpy()
            arrays[_BASE + name] = np.array([self._version(name)], np.int64)
        self.store.write(self.work.client, self.task.round, arrays)

    def _groups(self, parts: tuple[PartName, ...]) -> list[str]:
        return [group(part, self.work.slots) for part in parts]

    def _version(self, name: str) -> int:
        return self.task.groups[self.task.prefix + name]


def private(stored: Mapping[str, Array], versions: Mapping[str, int]) -> dict[str, Tensor]:
    """Of these groups those that a client has for itself, first taken from these versions."""
    found = {}
    for name, version in versions.items():
        base = stored.get(_BASE + name)
        if base is not None and int(base[0]) == version:
            found[name] = torch.from_numpy(np.array(stored[_PRIVATE + name]))
    return found
