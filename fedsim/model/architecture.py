"""The numbers that decide what a model costs: sizes of its layers, kind of head."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from fedsim.plan import HEAD, Adapters, Plan, Slot

if TYPE_CHECKING:
    from fedsim.model.distillation import Distillation

HeadKind = Literal["mlm", "pooler", "linear", "mean", "tokens"]


Heads = tuple[tuple[int, ...], ...]
"""Numbers of attention heads, layer by layer."""


def part_of(count: int, rate: float) -> int:
    """So many of `count` heads or units are in a share of them: rounded down."""
    return int(round(rate * count, 9))  # rounded first: 0.29 * 100 is 28.999999999999996


@dataclass(frozen=True)
class Decoder:
    """What an encoder-decoder has besides its encoder (BART: Lewis et al. 2020, arXiv 1910.13461)."""

    layers: int
    start: int = 0
    """The token that it reads first, which is the one that samples end with."""
    pad: int = 0
    """The token that samples are padded with; nothing but a saved model's configuration needs it."""


@dataclass(frozen=True)
class Architecture:
    """A Transformer with post-layer normalisation: an encoder (BERT: Devlin et al. 2019), with or without a decoder."""

    family: Literal["bert", "distilbert", "bart"]
    vocabulary: int
    hidden: int
    layers: int
    """All of them: the encoder's, then the decoder's."""
    heads: int
    feed_forward: int
    max_positions: int
    dropout: float
    activation: str = "gelu"
    norm_eps: float = 1e-12
    kept_heads: Heads | None = None
    """Which of its `heads` each layer has left, in a narrower or pruned model; None: all of them."""
    decoder: Decoder | None = None
    """None: an encoder alone."""

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return 0 if self.decoder is None else self.decoder.layers

    @property
    def encoder_layers(self) -> int:
        """Layers of the encoder."""
        return self.layers - self.decoder_layers

    def decodes(self, layer: int) -> bool:
        """The layer is one of the decoder's, with attention to what the encoder has made."""
        return self.decoder is not None and layer >= self.encoder_layers

    def local(self, slots: Sequence[Slot]) -> Self:
        """Sizes of a local model of these layers: where there are two kinds, how many it has of each.

        Raises:
            ValueError: a decoder's layers are not the last ones, are averaged with others, or one of both is without.
        """
        if self.decoder is None:
            return self
        kinds = [isinstance(slot, int) and self.decodes(slot) for slot in slots]
        if kinds != sorted(kinds) or len(set(kinds)) < 2 or not all(isinstance(slot, int) for slot in slots):
            raise ValueError(f"slots {tuple(slots)} must be layers of an encoder, and then of its decoder")
        return replace(self, layers=len(kinds), decoder=replace(self.decoder, layers=sum(kinds)))

    @property
    def head_size(self) -> int:
        """Width of a head; it stays the same where there are fewer of them."""
        return self.hidden // self.heads

    def heads_in(self, layer: int) -> int:
        """Heads of a layer."""
        return self.heads if self.kept_heads is None else len(self.kept_heads[layer])

    def attention_width(self, layer: int) -> int:
        """Width of a layer's queries, keys and values."""
        return self.heads_in(layer) * self.head_size

    def narrow(self, rate: float) -> Self:
        """The same with a share of each layer's heads and feed-forward units, rounded down.

        Raises:
            ValueError: a layer would have no head or no unit left.
        """
        if rate == 1.0:
            return self
        before = self.kept_heads or (tuple(range(self.heads)),) * self.layers
        heads = tuple(kept[: part_of(len(kept), rate)] for kept in before)
        units = part_of(self.feed_forward, rate)
        if not units or not all(heads):
            what = "feed-forward unit" if all(heads) else "attention head"
            raise ValueError(f"a rate of {rate:g} leaves no {what}")
        return replace(self, kept_heads=heads, feed_forward=units)

    def above(self, layers: int) -> Self:
        """The same without that many layers at the bottom, where their widths differ."""
        return self if self.kept_heads is None else replace(self, kept_heads=self.kept_heads[layers:])


@dataclass(frozen=True)
class Head:
    """What stands on the layers.

    `mlm`: transform, norm and the tied matrix (BART: the matrix alone); `pooler`: the family's sequence classifier with
    its pooling layer; `linear`: one linear layer on [CLS], or on the last token where a decoder has read all of them;
    `mean`: one on the mean of all tokens; `tokens`: one on every position.
    """

    kind: HeadKind
    classes: int = 0
    """Labels of a classifier; 0 for `mlm`."""
    everywhere: bool = True
    """The layer below it is computed at all positions, also at those that the head does not read."""

    @property
    def per_sample(self) -> bool:
        """The head gives one answer a sample, and is evaluated once for each."""
        return self.kind in ("pooler", "linear", "mean")


@dataclass(frozen=True)
class LocalShape:
    """What decides how a local model is built: models of the same shape are built once and reloaded."""

    architecture: Architecture
    head: Head
    depth: int
    train_layers: tuple[int, ...] = ()
    """Local positions; none of the three: for evaluation."""
    train_embeddings: bool = False
    train_head: bool = False
    scale: float = 1.0
    """What the outputs of heads and feed-forward units are multiplied by in training, where there are fewer of them."""
    distillation: "Distillation | None" = None
    """A student's: its teacher stands beside it."""
    top: str = HEAD
    """Group of the head on top."""
    exits: tuple[int, ...] = ()
    """Further heads, each on the lowest so many layers, ascending."""
    mutual: float = 0.0
    """Weight of what several heads learn from each other."""
    adapters: Adapters | None = None
    """Low-rank factors beside every layer."""
    train_adapters: bool = False

    @property
    def narrows(self) -> bool:
        """Behind its attention the top layer is computed only where the head reads it: nobody else looks at it.

        Of a head that reads one token a sample, so are its queries.
        """
        some = not self.head.everywhere and self.head.kind in ("mlm", "pooler", "linear")
        alone = self.distillation is None and not self.exits and self.architecture.decoder is None
        return some and alone and self.depth > 0

    @property
    def split(self) -> bool:
        """The client's side of a split model: embeddings and head are trained here, all layers elsewhere."""
        return self.depth == 0 and self.train_embeddings

    @classmethod
    def of(cls, architecture: Architecture, head: Head, plan: Plan) -> Self:
        """The shape of a plan's local model.

        Raises:
            ValueError: global layers of different widths are not in their places, or the plan leaves nothing of one.
        """
        if architecture.kept_heads is not None and not plan.in_place:
            raise ValueError("a model whose layers have different numbers of heads is built in place alone")
        trained = (plan.train_layers, plan.train_embeddings, plan.train_head)
        scale = 1.0 / plan.width.rate if plan.width.scaled else 1.0
        local = architecture.narrow(plan.width.rate)
        if architecture.decoder is not None:
            local = local.local(plan.layers.slots())
        if plan.split is not None:  # the server sends back what all positions have become
            head = replace(head, everywhere=True)
        return cls(
            local,
            head,
            plan.layers.depth,
            *trained,
            scale,
            plan.distillation,
            plan.top,
            plan.exits,
            plan.mutual,
            plan.adapters,
            plan.adapters is not None,
        )

    @property
    def teacher(self) -> "LocalShape | None":
        """The shape of a student's teacher: all of it, frozen, with a head of the same kind."""
        if self.distillation is None:
            return None
        return LocalShape(self.distillation.teacher, self.head, self.distillation.teacher.layers)
