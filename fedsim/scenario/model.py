"""The `model` section: an encoder or encoder-decoder from `transformers`, from numbers or from a checkpoint."""

from collections.abc import Iterator
from typing import Literal

from fedsim.scenario.base import Config, Count, Problem, Rate, Text

SIZES = ("vocabulary", "hidden", "layers", "decoder_layers", "heads", "feed_forward", "max_positions")


class Model(Config):
    """An encoder of the BERT or DistilBERT family, or an encoder-decoder of the BART family."""

    family: Literal["bert", "distilbert", "bart"] = "bert"
    """Which `transformers` classes build it; `bart` has a decoder, and is to be said of a checkpoint as well."""
    checkpoint: Text | None = None
    """Folder or hub name to take weights and sizes from; the sizes below then must not be given."""
    vocabulary: Count | None = None
    """Entries of the word embedding; null: as many as the tokenizer has."""
    hidden: Count = 768
    """Width."""
    layers: Count = 12
    """Encoder layers."""
    decoder_layers: Count | None = None
    """Decoder layers of `bart`; null: as many as the encoder has."""
    heads: Count = 12
    """Attention heads; must divide `hidden`."""
    feed_forward: Count = 3072
    """Width of the feed-forward part."""
    max_positions: Count = 512
    """Longest input that the position embedding knows."""
    dropout: Rate = 0.1
    """Dropout of hidden states, attention weights and the classifier's input; overrules a checkpoint's where given."""
    mlm_positions: Literal["masked", "all"] = "masked"
    """Where the vocabulary logits are computed: at masked positions only (for encoders the same loss and gradients) or
    at all; with `all` a decoder learns to write the whole text."""
    last_layer: Literal["needed", "all"] = "needed"
    """Where the last layer of an encoder is computed behind its attention: at positions that the head reads only (the
    same loss and gradients) or at all. Students beside a teacher, models with several heads and split ones need all."""
    classifier: Literal["pooler", "linear", "mean"] = "pooler"
    """Sequence classification: the family's own head with its pooling layer, or a linear layer on [CLS] (`bart`: on the
    last token) or the mean."""

    def problems(self) -> Iterator[Problem]:
        """Sizes are given once, there is a decoder to speak of, and the heads share the width evenly."""
        if self.decoder_layers is not None and not self.decodes:
            yield Problem(("decoder_layers",), f"goes with family: bart, family is {self.family}: an encoder alone")
        if self.checkpoint is not None:
            for name in SIZES:
                if name in self.model_fields_set:
                    yield Problem((name,), "comes from the checkpoint: remove it")
        elif self.hidden % self.heads:
            yield Problem(("heads",), f"must divide hidden ({self.hidden}), given {self.heads}")

    @property
    def everywhere(self) -> bool:
        """The last layer is computed at all positions, whether the head reads them or not."""
        return self.last_layer == "all"

    @property
    def decodes(self) -> bool:
        """The family has a decoder."""
        return self.family == "bart"

    @property
    def depth(self) -> tuple[int, int]:
        """All layers, and those of the decoder among them; of a model that is given by its sizes."""
        decoder = (self.decoder_layers or self.layers) if self.decodes else 0
        return self.layers + decoder, decoder

    def unsaid(self) -> frozenset[str]:
        """What a checkpoint says for itself; a given dropout overrules the checkpoint's."""
        return frozenset({"decoder_layers"}) if self.checkpoint is None else frozenset({*SIZES, "dropout"})
