"""Removing attention heads from the global model for good (after Michel, Levy, Neubig 2019, arXiv 1905.10650)."""

from dataclasses import replace

import numpy as np

from fedsim.data.work import IntArray
from fedsim.methods.base import Pruning
from fedsim.model.architecture import Architecture
from fedsim.model.layout import FloatArray, layer_layout
from fedsim.model.width import layer_entries
from fedsim.plan import layer
from fedsim.server.parameters import GlobalModel


def choose(importance: FloatArray, rule: Pruning) -> IntArray:
    """Which heads of a layer stay, ascending: at least one.

    Args:
        importance: of the layer's heads, [heads]; its scale does not matter.
        rule: the threshold for importances divided by their norm, or how many stay. Of equals the first is taken.
    """
    ranked = np.argsort(-importance, kind="stable")
    if rule.heads is not None:
        return np.sort(ranked[: rule.heads])
    values = importance.astype(np.float64)
    norm = np.linalg.norm(values)
    stay = values >= rule.threshold * norm if norm > 0 else np.zeros(len(values), np.bool_)
    stay[ranked[0]] = True
    return np.flatnonzero(stay)


def prune(model: GlobalModel, first: Architecture, importance: FloatArray | None, rule: Pruning) -> GlobalModel:
    """The model without the heads that the rule does not keep; the one given stays as it is.

    Rows of query, key and value go, and columns of the matrix behind them; every layer that has lost a head is a new
    version.

    Args:
        model: the global model.
        first: its sizes before any pruning.
        importance: of all heads, layer after layer; None in price mode, where only their number matters.
        rule: which ones stay.
    """
    present = model.architecture(first)
    counts = [present.heads_in(i) for i in range(present.layers)]
    values = np.zeros(sum(counts), np.float32) if importance is None else importance
    stays = [choose(own, rule) for own in np.split(values, np.cumsum(counts)[:-1])]
    before = present.kept_heads or (tuple(range(present.heads)),) * present.layers
    kept = tuple(tuple(heads[i] for i in stay.tolist()) for heads, stay in zip(before, stays, strict=True))
    if kept == before:
        return model
    after = replace(present, kept_heads=kept)
    layouts = model.layouts | {layer(i): layer_layout(after, i) for i in range(after.layers)}
    pruned = GlobalModel(layouts, dict(model.groups), dict(model.versions), kept)
    units = np.arange(present.feed_forward)
    for i, stay in enumerate(stays):
        if len(stay) < counts[i]:
            entries = layer_entries(present, i, stay, units)
            pruned.replace(layer(i), model.groups[layer(i)][entries] if model.groups else None)
    return pruned
