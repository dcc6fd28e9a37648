"""Which clients are trained side by side, decided from shapes alone, so that every machine decides alike."""

import numpy as np

from fedsim.data.work import IntArray
from fedsim.model.architecture import LocalShape
from fedsim.scenario.engine import Engine
from fedsim.training.recipe import Recipe

LEAST_CLIENTS, MOST_CLIENTS = 4, 16
"""In a stack: fewer gain nothing; with more of them activations no longer fit a core's cache."""
BLOCKS = 4
"""A multiple of so many blocks a round, so that several hosts have as much to do."""
LARGEST_STEP = 2**15
"""Numbers of one client's hidden states (samples x tokens x width) up to which a stack is faster on a CPU."""


def possible(shape: LocalShape, recipe: Recipe, engine: Engine, *, measured: bool, keep_optimizer: bool) -> bool:
    """Nothing that a client does is its own affair: what others bring along is left to one client at a time."""
    plain = shape.distillation is None and not shape.exits and shape.adapters is None and not shape.split
    trains = bool(shape.train_layers or shape.train_embeddings or shape.train_head)
    alone = measured or keep_optimizer or recipe.control or engine.precision != "float32"
    return plain and trains and not alone and shape.architecture.decoder is None


def pays(shape: LocalShape, largest: IntArray) -> bool:
    """A client's step is so small that most of its time is overhead, and there are clients enough for every block.

    Args:
        shape: of the local models.
        largest: samples, tokens and head positions of each client's largest batch, [clients, 3].
    """
    samples, tokens, positions = largest.max(0).tolist()
    logits = positions * shape.architecture.vocabulary if shape.head.kind == "mlm" else 0
    enough = len(largest) >= BLOCKS * LEAST_CLIENTS
    return enough and bool(samples * tokens * shape.architecture.hidden + logits <= LARGEST_STEP)


def blocks(members: IntArray, batches: IntArray) -> list[IntArray]:
    """Runs of members with as many batches, as far as possible, of at most 16 and of like numbers."""
    order = members[np.argsort(batches[members], kind="stable")]
    count = BLOCKS * -(-len(members) // (BLOCKS * MOST_CLIENTS))
    return [block for block in np.array_split(order, count) if len(block)]
