"""Local models of several clients side by side, trained as one: for models whose steps are mostly overhead.

Activations of C clients are those of one batch of C * B samples, client by client. Attention, activation functions and
dropout do not know the difference; what is trained is there once for each client, and matrices, norms and embeddings
take each client's rows with its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.architecture import LocalShape
from fedsim.model.embedding import lookup
from fedsim.model.layout import Layout
from fedsim.model.linear import Linear, is_stale, mark, rate_of
from fedsim.model.local import Batch, LocalModel, source
from fedsim.model.width import Window
from fedsim.plan import EMBEDDINGS, PartName, Slot


class Norm(nn.LayerNorm):
    """A norm with weights [C, hidden], or [hidden] where they are not trained."""

    def forward(self, x: Tensor) -> Tensor:
        """[C * n, ..., hidden] -> the same."""
        if self.weight.dim() == 1:
            return super().forward(x)
        clients, width = self.weight.shape
        rows = functional.layer_norm(x, (width,), eps=self.eps).view(clients, -1, width)
        return torch.addcmul(self.bias[:, None], rows, self.weight[:, None]).view(x.shape)


class StackedModel(LocalModel):
    """A `LocalModel` of several clients; what is not trained is there once, the same for all of them."""

    clients: int

    def __init__(self, shape: LocalShape, clients: int, device: torch.device | None = None) -> None:
        super().__init__(shape, device, clients)
        for module in self.module.modules():
            if type(module) is nn.LayerNorm:
                module.__class__ = Norm
        made = [module.weight for module in self.module.modules() if isinstance(module, Linear)]
        matrices = {id(weight) for weight in (*made, self._words) if weight.dim() == 3}
        trained = [(own, name) for name, part in self.trained.items() for own in part.parameters]
        self._matrices = [(own, name) for own, name in trained if id(own) in matrices]
        self._others = [(own, name) for own, name in trained if id(own) not in matrices]
        self._rates: Mapping[PartName, float] = {}

    def fill(
        self, groups: Sequence[Mapping[str, Tensor]], slots: Sequence[tuple[Slot, ...]], window: Window | None = None
    ) -> None:
        """Copy each client's groups in place.

        Args:
            groups: what each client holds, by name.
            slots: layers of each client; those that are not trained are the same for all.
            window: what layers hold of the global ones.
        """
        alike = True
        with torch.no_grad():
            for name, part in self.parts.items():
                mine = [source(name, own, theirs, window) for own, theirs in zip(groups, slots, strict=True)]
                same = part.grad is None or all(vector is mine[0] for vector in mine)
                alike = alike and same
                rows = mine[0][None] if same else torch.stack(mine)
                sizes = [block.shape[1] for block in part.blocks(part.flat)]
                for block, values in zip(part.blocks(part.flat), torch.split(rows, sizes, 1), strict=True):
                    block.copy_(values)
        self.alike(alike)

    def alike(self, alike: bool) -> None:
        """Say whether all clients have the same weights, as they have before their first step."""
        for module in self.module.modules():
            if isinstance(module, Linear):
                module.alike = alike

    def members(self) -> list["Member"]:
        """What each client has trained; copies."""
        rows = {name: torch.cat(part.blocks(part.flat), 1) for name, part in self.trained.items()}
        return [
            Member(self.device, {name: Row(self.parts[name].layout, row[client]) for name, row in rows.items()})
            for client in range(self.clients)
        ]

    def embedded(self, batch: Batch) -> Tensor:
        """What the lowest layers see, [C * B, L, hidden]."""
        if self.parts[EMBEDDINGS].grad is None:
            return super().embedded(batch)
        own: Any = self.embeddings
        samples, tokens = batch.ids.shape
        places = own.position_embeddings.weight[:, :tokens]
        if hasattr(own, "token_type_embeddings"):
            places = places + own.token_type_embeddings.weight[:, :1]
        table = own.word_embeddings
        words = lookup(batch.ids.view(self.clients, -1, tokens), table.weight, table.padding_idx)
        states: Tensor = own.dropout(own.LayerNorm((words + places[:, None]).view(samples, tokens, -1)))
        return states

    def descend(self, rates: Mapping[PartName, float]) -> None:
        """Have the way back make plain SGD's steps with each part's rate; without rates it leaves gradients."""
        self._rates = rates

    def zero_grad(self) -> None:
        """Clear the gradients; those of matrices when `losses` has found out which of them will be overwritten."""
        for own, _ in self._others:
            _clear(own)
        for own, name in self._matrices:
            mark(own, stale=True, rate=self._rates.get(name))

    def step(self) -> None:
        """What is left to do of a step of plain SGD after the way back."""
        for own, name in (*self._matrices, *self._others):
            if rate_of(own) is None:
                assert own.grad is not None
                own.data.add_(own.grad, alpha=-self._rates[name])

    def losses(self, batch: Batch) -> Tensor:
        """Each client's mean cross-entropy over what is predicted, [C]."""
        each = functional.cross_entropy(self.logits(batch).float(), batch.targets, reduction="none")
        for own, name in self._matrices:
            looked_up = own is self._words and name in self._rates  # which changes it on the way back, too
            if is_stale(own) and not looked_up:  # no product that overwrites or changes it has been made
                _clear(own)
        return each.view(self.clients, -1).sum(1) / self.predicted(batch)

    def predicted(self, batch: Batch) -> Tensor:
        """Predicted targets of each client, [C]."""
        return (batch.targets.view(self.clients, -1) >= 0).sum(1)

    def clip(self, most: float) -> None:
        """Scale each client's gradient down to this norm, where its own is larger."""
        grads = [block for part in self.trained.values() if part.grad is not None for block in part.blocks(part.grad)]
        norms = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad, dim=1) for grad in grads]), dim=0)
        scale = (most / (norms + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale[:, None])


def _clear(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.zero_()
    mark(parameter, stale=False)


@dataclass
class Row:
    """One client's numbers of a group."""

    layout: Layout
    flat: Tensor


@dataclass(frozen=True)
class Member:
    """What one client has trained."""

    device: torch.device
    parts: Mapping[PartName, Row]

    @property
    def trained(self) -> Mapping[PartName, Row]:
        """All of it."""
        return self.parts
