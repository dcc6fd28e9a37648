"""How an encoder-decoder reads: embeddings for both of its sides, and the text that the decoder is given.

BART (Lewis et al. 2020, arXiv 1910.13461): the encoder sees the text, with some of it hidden in pre-training; the
decoder reads the original text one token late, so that at every place it knows what stands before it.
"""

import torch
from torch import Tensor, nn

from fedsim.model.architecture import Architecture


class Reader(nn.Module):
    """Positions and norm of one side."""

    def __init__(self, architecture: Architecture) -> None:
        from transformers.models.bart.modeling_bart import BartLearnedPositionalEmbedding

        super().__init__()
        self.positions = BartLearnedPositionalEmbedding(architecture.max_positions, architecture.hidden)
        self.LayerNorm = nn.LayerNorm(architecture.hidden)
        self.dropout = nn.Dropout(architecture.dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Embedded words [B, L, hidden] -> what the lowest layer sees, of the same shape."""
        return self.dropout(self.LayerNorm(words + self.positions(words[:, :, -1])))  # type: ignore[no-any-return]


class BartEmbeddings(nn.Module):
    """One table of words, which the head shares, and a reader for each side."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(architecture.vocabulary, architecture.hidden)
        self.encoder = Reader(architecture)
        self.decoder = Reader(architecture)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, hidden], for the encoder."""
        return self.encoder(self.word_embeddings(ids))  # type: ignore[no-any-return]

    def decode(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, hidden], for the decoder."""
        return self.decoder(self.word_embeddings(ids))  # type: ignore[no-any-return]


def original(ids: Tensor, positions: Tensor | None, targets: Tensor) -> Tensor:
    """The text before some of it was hidden: what is to be predicted stands where it belongs.

    Args:
        ids: [B, L] with hidden tokens.
        positions: of the targets in the flattened text, [P]; None: the targets are those of all positions.
        targets: [P] or [B * L], negative where nothing is predicted.
    """
    flat = ids.flatten()
    if positions is None:
        return torch.where(targets >= 0, targets, flat).view_as(ids)
    return flat.index_put((positions,), torch.where(targets >= 0, targets, flat[positions])).view_as(ids)


def shifted(ids: Tensor, start: int) -> Tensor:
    """One token late, [B, L]: the first is `start`, the last one of the text is left out."""
    return torch.cat([ids.new_full((len(ids), 1), start), ids[:, :-1]], dim=1)
