"""Blocks of a round, and which clients are trained side by side in them: decided from shapes and prices alone.

So every machine decides alike, and the same sums are rounded alike.
"""

import numpy as np

from fedsim.data.work import IntArray
from fedsim.model.architecture import LocalShape
from fedsim.scenario.engine import Engine
from fedsim.training.recipe import Recipe

LEAST_CLIENTS = 4
"""In a stack: fewer gain nothing."""
STEP, MOST_BLOCKS = 4, 32
"""Blocks a round come in fours, so that two or four hosts have as much to do, and are at most so many."""
BLOCK_FLOPS = 10e9
"""About a tenth of a second of a core. A block costs a host and the driver some milliseconds besides its work."""
LARGEST_STATES, LARGEST_LOGITS = 2**16, 2**19
"""Numbers of one client's hidden states (samples x tokens x width), and of its logits over the vocabulary, up to which
a stack is faster on a CPU."""


def possible(shape: LocalShape, recipe: Recipe, engine: Engine, *, measured: bool, keep_optimizer: bool) -> bool:
    """Nothing that a client does is its own affair: what others bring along is left to one client at a time."""
    plain = shape.distillation is None and not shape.exits and shape.adapters is None and not shape.split
    trains = bool(shape.train_layers or shape.train_embeddings or shape.train_head)
    alone = measured or keep_optimizer or recipe.control or engine.precision != "float32"
    return plain and trains and not alone and shape.architecture.decoder is None


def pays(shape: LocalShape, largest: IntArray) -> bool:
    """A client's step is so small that much of its time is overhead, and there are clients enough for two blocks.

    Args:
        shape: of the local models.
        largest: samples, tokens and head positions of each client's largest batch, [clients, 3].
    """
    samples, tokens, positions = largest.max(0).tolist()
    logits = positions * shape.architecture.vocabulary if shape.head.kind == "mlm" else 0
    states = samples * tokens * shape.architecture.hidden
    return len(largest) >= 2 * LEAST_CLIENTS and bool(states <= LARGEST_STATES and logits <= LARGEST_LOGITS)


def count(flops: float, clients: int) -> int:
    """Blocks for a round of so many clients with so many FLOPs in all."""
    return min(clients, MOST_BLOCKS, STEP * max(1, round(flops / (STEP * BLOCK_FLOPS))))


def fewer(blocks: int, clients: int) -> int:
    """Of these blocks as many as leave a stack to each."""
    return min(blocks, max(2, clients // LEAST_CLIENTS))


def split(members: IntArray, blocks: int, batches: IntArray | None = None) -> list[IntArray]:
    """Members in blocks of like numbers; given the batches of everybody, those with as many of them together."""
    order = members if batches is None else members[np.argsort(batches[members], kind="stable")]
    return [block for block in np.array_split(order, max(1, blocks)) if len(block)]
