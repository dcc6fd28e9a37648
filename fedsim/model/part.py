"""Groups as vectors: the parameters of a module are views of one."""

from collections.abc import Mapping
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from fedsim.model.layout import Layout
from fedsim.plan import PartName


class Vector(Protocol):
    """One group's numbers, and where its tensors lie among them."""

    layout: Layout
    flat: Tensor


class Weights(Protocol):
    """A client's own weights after training."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    @property
    def parts(self) -> Mapping[PartName, Vector]:
        """By part, from the bottom up."""

    @property
    def trained(self) -> Mapping[PartName, Vector]:
        """Those that are trained."""


class Part:
    """The vector behind a module's parameters, and the gradient's where it is trained.

    With `clients`, the parameters of so many of them side by side: in the vector each tensor stands once for each
    client before the next tensor begins.
    """

    def __init__(
        self, module: nn.Module, layout: Layout, trained: bool, device: torch.device, clients: int | None = None
    ) -> None:
        copies, sides = (1, ()) if clients is None else (clients, (clients,))
        self.layout = layout
        self.decayed = copies * layout.decayed
        self.flat = torch.empty(copies * layout.size, device=device)
        self.grad = torch.zeros(copies * layout.size, device=device) if trained else None
        self.parameters: list[nn.Parameter] = []
        start = 0
        for name, shape in layout.tensors:
            owner, _, leaf = name.rpartition(".")
            stop = start + copies * prod(shape)
            parameter = nn.Parameter(self.flat[start:stop].view(*sides, *shape), requires_grad=trained)
            if self.grad is not None:
                parameter.grad = self.grad[start:stop].view(*sides, *shape)
            self.parameters.append(parameter)
            place = module.get_submodule(owner)
            # a matrix with an adapter beside it is inside of what has taken its place
            setattr(getattr(place, "base_layer", place), leaf, parameter)
            start = stop

    @property
    def size(self) -> int:
        """Numbers in the vector."""
        return self.flat.numel()

    def blocks(self, vector: Tensor) -> list[Tensor]:
        """Views of this vector or its gradient, one for each tensor: a row a client, [clients, numbers]."""
        copies = self.size // self.layout.size
        sizes = [copies * prod(shape) for _, shape in self.layout.tensors]
        return [block.view(copies, -1) for block in torch.split(vector, sizes)]
