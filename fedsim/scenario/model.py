"""The `model` section: an encoder from `transformers`, from numbers or from a checkpoint."""

from collections.abc import Iterator
from typing import Literal

from fedsim.scenario.base import Config, Count, Problem, Rate, Text

SIZES = ("vocabulary", "hidden", "layers", "heads", "feed_forward", "max_positions")


class Model(Config):
    """An encoder-only Transformer of the BERT or DistilBERT family."""

    family: Literal["bert", "distilbert"] = "bert"
    """Which `transformers` classes build it."""
    checkpoint: Text | None = None
    """Folder or hub name to take weights and sizes from; the sizes below then must not be given."""
    vocabulary: Count | None = None
    """Entries of the word embedding; null: as many as the tokenizer has."""
    hidden: Count = 768
    """Width."""
    layers: Count = 12
    """Encoder layers."""
    heads: Count = 12
    """Attention heads; must divide `hidden`."""
    feed_forward: Count = 3072
    """Width of the feed-forward part."""
    max_positions: Count = 512
    """Longest input that the position embedding knows."""
    dropout: Rate = 0.1
    """Dropout of hidden states, attention weights and the classifier's input; overrules a checkpoint's where given."""
    mlm_positions: Literal["masked", "all"] = "masked"
    """Where the vocabulary logits are computed: at masked positions only (same loss and gradients) or at all."""
    classifier: Literal["pooler", "linear", "mean"] = "pooler"
    """Sequence classification: the family's own head with its pooling layer, or a linear layer on [CLS] or the mean."""

    def problems(self) -> Iterator[Problem]:
        """Sizes are given once, and the heads share the width evenly."""
        if self.checkpoint is not None:
            for name in SIZES:
                if name in self.model_fields_set:
                    yield Problem((name,), "comes from the checkpoint: remove it")
        elif self.hidden % self.heads:
            yield Problem(("heads",), f"must divide hidden ({self.hidden}), given {self.heads}")

    def unsaid(self) -> frozenset[str]:
        """What a checkpoint says for itself; a given dropout overrules the checkpoint's."""
        return frozenset() if self.checkpoint is None else frozenset({*SIZES, "dropout"})
