"""The numbers that decide what a model costs: sizes of the encoder, kind of head."""

from dataclasses import dataclass
from typing import Literal, Self

from fedsim.plan import Plan

HeadKind = Literal["mlm", "pooler", "linear", "mean", "tokens"]


@dataclass(frozen=True)
class Architecture:
    """An encoder-only Transformer with post-layer normalisation (BERT: Devlin et al. 2019)."""

    family: Literal["bert", "distilbert"]
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    max_positions: int
    dropout: float
    activation: str = "gelu"
    norm_eps: float = 1e-12


@dataclass(frozen=True)
class Head:
    """What stands on the encoder.

    `mlm`: transform, norm and the tied decoder; `pooler`: the family's sequence classifier with its pooling layer;
    `linear`: one linear layer on [CLS]; `mean`: one on the mean of all tokens; `tokens`: one on every position.
    """

    kind: HeadKind
    classes: int = 0
    """Labels of a classifier; 0 for `mlm`."""

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

    @classmethod
    def of(cls, architecture: Architecture, head: Head, plan: Plan) -> Self:
        """The shape of a plan's local model."""
        return cls(architecture, head, plan.layers.depth, plan.train_layers, plan.train_embeddings, plan.train_head)
