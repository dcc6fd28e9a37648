"""What stands on the layers: the MLM heads with their tied matrix, and three classifiers."""

import torch
from torch import Tensor, nn

from fedsim.model.architecture import Architecture, Head
from fedsim.model.encoder import activation
from fedsim.model.linear import linear
from fedsim.model.meta import unallocated


class MLMHead(nn.Module):
    """Transform, norm and the decoder whose matrix is the word embedding (Devlin et al. 2019, 3.1)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(architecture.hidden, architecture.hidden)
        self.activation = activation(architecture)
        self.norm = nn.LayerNorm(architecture.hidden, eps=architecture.norm_eps)
        self.bias = nn.Parameter(torch.zeros(architecture.vocabulary))

    def transform(self, states: Tensor) -> Tensor:
        """[P, hidden] -> [P, hidden]: what the decoder reads."""
        return self.norm(self.activation(self.dense(states)))  # type: ignore[no-any-return]

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """[P, hidden] -> [P, vocabulary]."""
        return linear(self.transform(states), word_embeddings, self.bias)


class TiedHead(nn.Module):
    """BART's head for language modelling: the word embedding and a bias, `final_logits_bias` in `transformers`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(architecture.vocabulary))

    def transform(self, states: Tensor) -> Tensor:
        """[P, hidden] -> [P, hidden]: what the decoder reads."""
        return states

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """[P, hidden] -> [P, vocabulary]."""
        return linear(states, word_embeddings, self.bias)


class PoolerHead(nn.Module):
    """The family's sequence classifier: a pooling layer on one token, then a linear layer."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(architecture.hidden, architecture.hidden)
        self.activation = nn.ReLU() if architecture.family == "distilbert" else nn.Tanh()
        self.dropout = nn.Dropout(architecture.dropout)
        self.first = nn.Dropout(architecture.dropout) if architecture.family == "bart" else nn.Identity()
        self.classifier = nn.Linear(architecture.hidden, classes)

    def forward(self, states: Tensor) -> Tensor:
        """[B, hidden] -> [B, classes]."""
        return self.classifier(self.dropout(self.activation(self.dense(self.first(states)))))  # type: ignore[no-any-return]


class LinearHead(nn.Module):
    """One linear layer, on one token or on every token."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier = nn.Linear(architecture.hidden, classes)

    def forward(self, states: Tensor) -> Tensor:
        """[n, hidden] -> [n, classes]."""
        return self.classifier(self.dropout(states))  # type: ignore[no-any-return]


def build_head(architecture: Architecture, head: Head) -> nn.Module:
    """A head on the meta device: its values are loaded later."""
    with unallocated():
        if head.kind == "mlm":
            return MLMHead(architecture) if architecture.decoder is None else TiedHead(architecture)
        if head.kind == "pooler":
            return PoolerHead(architecture, head.classes)
        return LinearHead(architecture, head.classes)
