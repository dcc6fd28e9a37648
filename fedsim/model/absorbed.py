"""Attention of one query a sample, without keys and values of all the tokens.

A score is a product of a query, a matrix and a state, ``q (Wk x)``. With one query a sample it is less work to
take the matrix to the query, ``(q Wk) x``, and to what the weights have picked: ``Wv (sum p x)`` for ``sum p (Wv x)``.
DeepSeek-V2 (2024, 2.1.2) calls it to absorb the matrices. The keys' bias adds as much to all scores of a query, which
softmax does not see: its gradient is zero, and it is left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def attend_absorbed(
    query: Tensor, key: nn.Linear, value: nn.Linear, states: Tensor, mask: Tensor | None, width: int, dropout: float
) -> Tensor:
    """What `fedsim.model.encoder.attend` makes of the query, ``key(states)`` and ``value(states)``.

    Args:
        query: [B, n, heads * width], of few tokens of each sample.
        key: with a matrix [heads * width, hidden], or one for each of C clients, whose samples follow one another.
        value: the same.
        states: [B, L, hidden].
        mask: [B, 1, L, L], the same for all tokens of a sample; None: every one may look at all.
        width: of a head.
        dropout: share of the attention's weights that is dropped.

    Returns:
        [B, n, heads * width].
    """
    samples, _, hidden = states.shape
    heads = query.shape[-1] // width
    keys, values = (matrix.weight.view(-1, heads, width, hidden) for matrix in (key, value))
    # [C, heads, B / C * n, ...]: a head's part of a client's matrix meets all that belongs to it at once
    asked = query.view(len(keys), -1, heads, width).transpose(1, 2)
    asking = torch.matmul(asked, keys).transpose(1, 2).reshape(samples, -1, hidden)
    scores = torch.bmm(asking, states.transpose(1, 2)) * width**-0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, 0, :1], -torch.inf)
    weights = functional.dropout(scores.softmax(-1), dropout)
    mixed = torch.bmm(weights, states).view(len(values), -1, heads, hidden).transpose(1, 2)
    found = torch.matmul(mixed, values.transpose(2, 3)).transpose(1, 2)
    bias = value.bias.view(-1, 1, heads, width)
    if dropout:  # what is left of the weights does not add up to 1
        bias = bias * weights.sum(-1).view(*found.shape[:-1], 1)
    return (found + bias).reshape(query.shape)
