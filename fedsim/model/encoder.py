"""Embeddings and layers of BERT and DistilBERT: the modules of `transformers`, tensor by tensor and bit by bit.

They are written out here because importing the originals takes a host longer than importing torch does.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.absorbed import attend_absorbed
from fedsim.model.architecture import Architecture


class BertEmbeddings(nn.Module):
    """Words, positions and one type of token, added up (Devlin et al. 2019, 3)."""

    position_ids: Tensor
    token_type_ids: Tensor

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(a.vocabulary, a.hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(a.max_positions, a.hidden)
        self.token_type_embeddings = nn.Embedding(2, a.hidden)
        self.LayerNorm = nn.LayerNorm(a.hidden, eps=a.norm_eps)
        self.dropout = nn.Dropout(a.dropout)
        self.register_buffer("position_ids", torch.empty(1, a.max_positions, dtype=torch.long), persistent=False)
        self.register_buffer("token_type_ids", torch.empty(1, a.max_positions, dtype=torch.long), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, hidden]."""
        length = ids.shape[1]
        types = self.token_type_embeddings(self.token_type_ids[:, :length].expand(len(ids), -1))
        states = self.word_embeddings(ids) + types + self.position_embeddings(self.position_ids[:, :length])
        return self.dropout(self.LayerNorm(states))  # type: ignore[no-any-return]


class DistilBertEmbeddings(nn.Module):
    """Words and positions, added up (Sanh et al. 2019, 2)."""

    position_ids: Tensor

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(a.vocabulary, a.hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(a.max_positions, a.hidden)
        self.LayerNorm = nn.LayerNorm(a.hidden, eps=1e-12)
        self.dropout = nn.Dropout(a.dropout)
        self.register_buffer("position_ids", torch.empty(1, a.max_positions, dtype=torch.long), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, hidden]."""
        states = self.word_embeddings(ids) + self.position_embeddings(self.position_ids[:, : ids.shape[1]])
        return self.dropout(self.LayerNorm(states))  # type: ignore[no-any-return]


class _SelfAttention(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.width = a.hidden // a.heads
        self.query = nn.Linear(a.hidden, a.hidden)
        self.key = nn.Linear(a.hidden, a.hidden)
        self.value = nn.Linear(a.hidden, a.hidden)
        self.dropout = nn.Dropout(a.dropout)

    def forward(self, states: Tensor, mask: Tensor | None, rows: Tensor | None) -> Tensor:
        dropout = self.dropout.p if self.training else 0.0
        return look_up(states, rows, self.query, self.key, self.value, mask, self.width, dropout)


class _Output(nn.Module):
    """Back to the width of the states, added to what stood before, and normed."""

    def __init__(self, a: Architecture, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, a.hidden)
        self.LayerNorm = nn.LayerNorm(a.hidden, eps=a.norm_eps)
        self.dropout = nn.Dropout(a.dropout)

    def forward(self, states: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(states)) + before)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.self = _SelfAttention(a)
        self.output = _Output(a, a.hidden)

    def forward(self, states: Tensor, mask: Tensor | None, rows: Tensor | None) -> Tensor:
        return self.output(self.self(states, mask, rows), picked(states, rows))  # type: ignore[no-any-return]


class _Intermediate(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(a.hidden, a.feed_forward)
        self.activation = activation(a)

    def forward(self, states: Tensor) -> Tensor:
        return self.activation(self.dense(states))  # type: ignore[no-any-return]


class BertLayer(nn.Module):
    """Attention and feed-forward units, each added to its input and normed."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.attention = _Attention(a)
        self.intermediate = _Intermediate(a)
        self.output = _Output(a, a.feed_forward)

    def forward(self, states: Tensor, mask: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """[B, L, hidden] -> [B, L, hidden]; where only some `rows` of all B * L are wanted, [P, hidden] of these.

        `mask` [B, 1, L, L], or None where every token is real. `rows` is [P], or [B, n] with as many of each sample, as
        many queries are then made.
        """
        attended = self.attention(states, mask, rows)
        return self.output(self.intermediate(attended), attended)  # type: ignore[no-any-return]


class _DistilAttention(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.width = a.hidden // a.heads
        self.q_lin = nn.Linear(a.hidden, a.hidden)
        self.k_lin = nn.Linear(a.hidden, a.hidden)
        self.v_lin = nn.Linear(a.hidden, a.hidden)
        self.out_lin = nn.Linear(a.hidden, a.hidden)
        self.dropout = nn.Dropout(a.dropout)

    def forward(self, states: Tensor, mask: Tensor | None, rows: Tensor | None) -> Tensor:
        dropout = self.dropout.p if self.training else 0.0
        mixed = look_up(states, rows, self.q_lin, self.k_lin, self.v_lin, mask, self.width, dropout)
        return self.out_lin(mixed)  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.dropout = nn.Dropout(a.dropout)
        self.lin1 = nn.Linear(a.hidden, a.feed_forward)
        self.lin2 = nn.Linear(a.feed_forward, a.hidden)
        self.activation = activation(a)

    def forward(self, states: Tensor) -> Tensor:
        return self.dropout(self.lin2(self.activation(self.lin1(states))))  # type: ignore[no-any-return]


class DistilBertLayer(nn.Module):
    """The same under DistilBERT's names, without dropout behind its attention."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.attention = _DistilAttention(a)
        self.sa_layer_norm = nn.LayerNorm(a.hidden, eps=1e-12)
        self.ffn = _FeedForward(a)
        self.output_layer_norm = nn.LayerNorm(a.hidden, eps=1e-12)

    def forward(self, states: Tensor, mask: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """As that of `BertLayer`."""
        attended = self.sa_layer_norm(self.attention(states, mask, rows) + picked(states, rows))
        return self.output_layer_norm(self.ffn(attended) + attended)  # type: ignore[no-any-return]


def look_up(
    states: Tensor,
    rows: Tensor | None,
    query: nn.Module,
    key: nn.Module,
    value: nn.Module,
    mask: Tensor | None,
    width: int,
    dropout: float,
) -> Tensor:
    """Attention in heads of `width`: of all states, or of some `rows` alone, as in `BertLayer.forward`.

    Of as many rows of each sample the queries alone are made, and of plain matrices no keys and values.
    """
    if rows is None or rows.dim() == 1:
        return picked(attend(query(states), key(states), value(states), mask, width, dropout), rows)
    queries = query(picked(states, rows).view(*rows.shape, -1))
    if isinstance(key, nn.Linear) and isinstance(value, nn.Linear):
        return attend_absorbed(queries, key, value, states, mask, width, dropout).flatten(0, 1)
    return attend(queries, key(states), value(states), mask, width, dropout).flatten(0, 1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, width: int, dropout: float) -> Tensor:
    """Scaled dot-product attention in heads of `width`, as many as there are: [B, L, heads * width] in and out.

    There may be fewer queries; to all of a sample's queries the mask says the same.
    """
    mask = mask if mask is None else mask[:, :, : query.shape[1]]
    q, k, v = (states.view(*states.shape[:2], -1, width).transpose(1, 2) for states in (query, key, value))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=width**-0.5)
    return mixed.transpose(1, 2).reshape(*query.shape[:2], -1)


def picked(states: Tensor, rows: Tensor | None) -> Tensor:
    """What is at some of all B * L rows, [P, width]; without any named, the states as they are."""
    return states if rows is None else states.flatten(0, 1).index_select(0, rows.flatten())


def activation(a: Architecture) -> nn.Module:
    """The function between the two feed-forward matrices; a rare one comes from `transformers`."""
    if a.activation == "gelu":
        return nn.GELU()
    from transformers.activations import ACT2FN

    return ACT2FN[a.activation]  # type: ignore[no-any-return]
