"""What a model computes on the way to its answer: the states between its layers and its raw attention scores."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fedsim.model.local import Batch, LocalModel

_QUERY_KEY = {
    "bert": ("attention.self.query", "attention.self.key"),
    "distilbert": ("attention.q_lin", "attention.k_lin"),
}


@dataclass(frozen=True)
class Inside:
    """One forward pass, looked into. B samples, L tokens."""

    states: tuple[Tensor, ...]
    """Output of the embeddings, then of each layer, [B, L, hidden]."""
    scores: Mapping[int, Tensor]
    """By local layer: query times key over the root of the head's width, [B, heads, L, L]. Padding is not masked."""
    logits: Tensor | None
    """As `LocalModel.logits`."""


def inside(model: LocalModel, batch: Batch, *, depth: int, scores: Collection[int] = (), logits: bool) -> Inside:
    """Run the lowest `depth` layers; `scores` names the layers whose attention is wanted.

    The fused attention kernels never write the scores down, so they are computed once more, from the layer's own
    queries and keys: one more product of a known cost, with the same gradient.
    """
    states, found = [model.embedded(batch)], {}
    mask = model.mask(batch)
    for place in range(depth):
        layer = model.layers[place]
        if place not in scores:
            states.append(layer(states[-1], mask))
            continue
        with _seen(layer, _QUERY_KEY[model.shape.architecture.family]) as (query, key):
            states.append(layer(states[-1], mask))
        found[place] = _product(query[0], key[0], model.shape.architecture.heads_in(place))
    return Inside(tuple(states), found, model.answers(states[-1], batch) if logits else None)


@contextmanager
def _seen(layer: nn.Module, names: tuple[str, str]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The outputs of two modules of a layer, filled in when it runs."""
    outputs: tuple[list[Tensor], list[Tensor]] = ([], [])

    def keep(where: list[Tensor]) -> Any:
        return lambda module, arguments, output: where.append(output)

    handles = [
        layer.get_submodule(name).register_forward_hook(keep(where)) for name, where in zip(names, outputs, strict=True)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _product(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """[B, L, hidden] twice -> [B, heads, L, L]."""
    query, key = (states.view(*states.shape[:2], heads, -1).transpose(1, 2) for states in (query, key))
    return (query @ key.transpose(2, 3)).mul(query.shape[-1] ** -0.5)
