"""SCAFFOLD's control variates on a client (Karimireddy et al. 2020, algorithm 1, option II)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsim.model.local import LocalModel
from fedsim.plan import CONTROL, Slot, group


@dataclass(frozen=True)
class Control:
    """What the server and the client take the mean gradient to be, for each global group that is trained and sent."""

    server: Mapping[str, Tensor]
    """c."""
    own: Mapping[str, Tensor]
    """c_i."""

    @classmethod
    def of(
        cls, model: LocalModel, slots: tuple[Slot, ...], groups: Mapping[str, Tensor], own: Mapping[str, Tensor]
    ) -> Self:
        """The variates of a loaded model's trained parts; zero where nothing is known yet.

        Args:
            model: loaded.
            slots: its layers.
            groups: what the client has downloaded, c among it.
            own: what is on its disk.
        """
        flat = {group(name, slots): part.flat for name, part in model.trained.items()}
        zeros = {name: torch.zeros_like(values) for name, values in flat.items()}
        server = {name: groups.get(CONTROL + name, zeros[name]) for name in flat}
        return cls(server, {name: own.get(name, zeros[name]).to(model.device) for name in flat})

    @property
    def corrections(self) -> list[Tensor]:
        """The differences c - c_i, which every step adds to the gradient; in the order of the trained parts."""
        return [self.server[name] - self.own[name] for name in self.server]

    def changes(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], steps: int, rates: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """How much c_i changes: (x - y_i) / (K eta) - c (option II), by group; nothing without a step.

        Args:
            before: x, the groups that were downloaded.
            after: y_i, what training has made of them.
            steps: K.
            rates: eta of each group.
        """
        if not steps:
            return {name: torch.zeros_like(values) for name, values in after.items()}
        return {
            name: (before[name] - values) / (steps * rates[name]) - self.server[name] for name, values in after.items()
        }
