"""What the server puts into groups when a stage begins."""

import numpy as np

from fedsim import rng
from fedsim.methods.base import Fill
from fedsim.model.layout import FloatArray, Groups, Layout, initialise

_BRANCH_ENDS = (
    *("attention.output.dense", "output.dense"),  # BERT
    *("attention.out_lin", "ffn.lin2"),  # DistilBERT
    *("self_attn.out_proj", "encoder_attn.out_proj", "fc2"),  # BART
)


def filled(fill: Fill, layout: Layout, groups: Groups, seed: int, *key: str | int) -> FloatArray:
    """The group's new numbers, of shape [layout.size]; `key` names the random stream."""
    if fill.source not in ("random", "identity"):
        return np.array(groups[fill.source])
    fresh = initialise(layout, rng.stream(seed, "init", fill.group, *key))
    if fill.source == "identity":
        for name, view in layout.split(fresh).items():
            if name.rpartition(".")[0] in _BRANCH_ENDS:
                view[...] = 0.0
    return fresh
