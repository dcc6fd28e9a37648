"""In which order a model grows: the layers that are there in each stage, and where new ones can be copied from.

ProgFed (Wang et al. 2022) grows feed-forward networks from the input upwards, and 3D-U-Nets, which have an encoder and
a decoder, in two ways (sections 3.1 and 4.3): from the outermost pair of blocks inwards with the output's own head
(symmetric), or the whole encoder at once and then the decoder under temporary heads (asymmetric). It has no Transformer
with a decoder. What is done here for one, in both orders, is OUR ADAPTATION: there are no long skip connections that
pair layers, and every layer of the decoder looks at what the highest layer of the encoder so far has made.
"""

from collections.abc import Sequence
from typing import Literal

Order = Literal["bottom_up", "symmetric", "asymmetric"]


def bottom_up(depths: Sequence[int]) -> list[tuple[int, ...]]:
    """An encoder grows from the embeddings upwards; `depths` are its layers in each stage."""
    return [tuple(range(depth)) for depth in depths]


def symmetric(depths: Sequence[int], layers: int, decoder_layers: int) -> list[tuple[int, ...]]:
    """Our adaptation: from both ends inwards, the encoder from the input and the decoder from the output.

    In every stage the encoder has the same share of its layers as the decoder, rounded down, and at least one.

    Args:
        depths: of the decoder in each stage.
        layers: of the global model.
        decoder_layers: the last ones of them.
    """
    encoder_layers = layers - decoder_layers
    shares = [max(1, encoder_layers * depth // decoder_layers) for depth in depths]
    return [(*range(share), *range(layers - depth, layers)) for share, depth in zip(shares, depths, strict=True)]


def asymmetric(depths: Sequence[int], layers: int, decoder_layers: int) -> list[tuple[int, ...]]:
    """Our adaptation: all of the encoder from the first stage on, and the decoder from its input upwards; as above."""
    return [tuple(range(layers - decoder_layers + depth)) for depth in depths]


def grown(order: Order, depths: Sequence[int], layers: int, decoder_layers: int) -> list[tuple[int, ...]]:
    """The global layers that make the model of each stage; new are those that the stage before lacks."""
    if order == "bottom_up":
        return bottom_up(depths)
    return (symmetric if order == "symmetric" else asymmetric)(depths, layers, decoder_layers)


def sources(new: Sequence[int], before: Sequence[int], encoder_layers: int) -> dict[int, int]:
    """For each new layer the one that it is a copy of, where a block is stacked on those beside it.

    On top of a side go its uppermost layers so far, below it the lowest ones, in their order; again from their first
    where the block is larger than all of them. A layer of the decoder is never one of the encoder.
    """
    found: dict[int, int] = {}
    for decodes in (False, True):
        block, there = ([i for i in some if (i >= encoder_layers) == decodes] for some in (new, before))
        if block:
            beside = there[-len(block) :] if block[0] > there[-1] else there[: len(block)]
            found |= {index: beside[place % len(beside)] for place, index in enumerate(block)}
    return found
