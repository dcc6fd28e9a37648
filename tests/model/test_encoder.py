"""Embeddings and layers against those of `transformers`."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, DistilBertConfig
from transformers.models.bert import modeling_bert as bert
from transformers.models.distilbert import modeling_distilbert as distilbert

from fedsim.model.architecture import Architecture
from fedsim.model.local import attention_mask
from fedsim.model.modules import build_modules, fill_buffers


def original(a: Architecture, depth: int) -> list[nn.Module]:
    """Embeddings and layers as `transformers` builds them, with fresh weights."""
    if a.family == "bert":
        config = BertConfig(  # type: ignore[call-arg]
            vocab_size=a.vocabulary,
            hidden_size=a.hidden,
            num_attention_heads=a.heads,
            intermediate_size=a.feed_forward,
            max_position_embeddings=a.max_positions,
            hidden_dropout_prob=a.dropout,
            attention_probs_dropout_prob=a.dropout,
            hidden_act=a.activation,
            attn_implementation="sdpa",
        )
        layers = [bert.BertLayer(config, i) for i in range(depth)]  # type: ignore[no-untyped-call]
        return [bert.BertEmbeddings(config), *layers]  # type: ignore[no-untyped-call]
    other = DistilBertConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        dim=a.hidden,
        n_heads=a.heads,
        hidden_dim=a.feed_forward,
        max_position_embeddings=a.max_positions,
        dropout=a.dropout,
        attention_dropout=a.dropout,
        activation=a.activation,
        attn_implementation="sdpa",
    )
    return [distilbert.Embeddings(other), *(distilbert.TransformerBlock(other) for _ in range(depth))]


def passed(modules: list[nn.Module], ids: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Output of the highest layer, and the gradient of every parameter of a loss on it."""
    embeddings, *layers = modules
    torch.manual_seed(1)  # the same units are dropped
    states = embeddings(ids)
    for layer in layers:
        states = layer(states, mask)
    states.square().sum().backward()
    return states, [
        parameter.grad for module in modules for parameter in module.parameters() if parameter.grad is not None
    ]


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("padded", [False, True])
def test_states_and_gradients_are_those_of_transformers_bit_by_bit(
    family: str, activation: str, dropout: float, padded: bool
) -> None:
    a = Architecture(family, 60, 32, 2, 4, 64, 16, dropout=dropout, activation=activation)  # type: ignore[arg-type]
    theirs = original(a, 2)
    embeddings, layers = build_modules(a, 2)
    ours = [embeddings, *layers]
    for own, their in zip(ours, theirs, strict=True):
        own.to_empty(device="cpu")
        fill_buffers(own, torch.device("cpu"))
        own.load_state_dict(their.state_dict())
    ids, real = torch.arange(45).view(3, 15), torch.ones(3, 15, dtype=torch.bool)
    real[1, 9:] = False
    mask = attention_mask(real) if padded else None
    (states, gradients), (expected, expected_gradients) = passed(ours, ids, mask), passed(theirs, ids, mask)
    assert torch.equal(states, expected)
    assert len(gradients) == len(expected_gradients) > 20
    assert all(map(torch.equal, gradients, expected_gradients))
