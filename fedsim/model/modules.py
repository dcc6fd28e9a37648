"""Embeddings and layers as `transformers` builds them, family by family."""

import torch
from torch import nn

from fedsim.model.architecture import Architecture

Modules = tuple[nn.Module, list[nn.Module]]
"""Embeddings, and layers from the bottom up."""


def build_modules(architecture: Architecture, depth: int) -> Modules:
    """Embeddings and `depth` layers, on the meta device: nothing is allocated or initialised."""
    build = {"bert": _bert, "distilbert": _distilbert, "bart": _bart}[architecture.family]
    with torch.device("meta"):
        return build(architecture, depth)


def _bert(a: Architecture, depth: int) -> Modules:
    from transformers.models.bert import modeling_bert as bert
    from transformers.models.bert.configuration_bert import BertConfig

    config = BertConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        hidden_size=a.hidden,
        num_hidden_layers=depth,
        num_attention_heads=a.heads,  # their size follows from it; their number from the weights
        intermediate_size=a.feed_forward,
        max_position_embeddings=a.max_positions,
        hidden_dropout_prob=a.dropout,
        attention_probs_dropout_prob=a.dropout,
        hidden_act=a.activation,
        layer_norm_eps=a.norm_eps,
        attn_implementation="sdpa",
    )
    layers: list[nn.Module] = [bert.BertLayer(config, i) for i in range(depth)]  # type: ignore[no-untyped-call]
    return bert.BertEmbeddings(config), layers  # type: ignore[no-untyped-call]


def _distilbert(a: Architecture, depth: int) -> Modules:
    from transformers.models.distilbert import modeling_distilbert as distilbert
    from transformers.models.distilbert.configuration_distilbert import DistilBertConfig

    config = DistilBertConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        dim=a.hidden,
        n_layers=depth,
        n_heads=a.heads,  # their size follows from it; their number from the weights
        hidden_dim=a.feed_forward,
        max_position_embeddings=a.max_positions,
        dropout=a.dropout,
        attention_dropout=a.dropout,
        activation=a.activation,
        attn_implementation="sdpa",
    )
    return distilbert.Embeddings(config), [distilbert.TransformerBlock(config) for _ in range(depth)]


def _bart(a: Architecture, depth: int) -> Modules:
    from transformers.models.bart import modeling_bart as bart
    from transformers.models.bart.configuration_bart import BartConfig

    from fedsim.model.bart import BartEmbeddings

    config = BartConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        d_model=a.hidden,
        encoder_layers=a.encoder_layers,
        decoder_layers=a.decoder_layers,
        encoder_attention_heads=a.heads,
        decoder_attention_heads=a.heads,
        encoder_ffn_dim=a.feed_forward,
        decoder_ffn_dim=a.feed_forward,
        max_position_embeddings=a.max_positions,
        dropout=a.dropout,
        attention_dropout=a.dropout,
        activation_dropout=a.dropout,
        activation_function=a.activation,
        attn_implementation="sdpa",
    )
    layers = [bart.BartDecoderLayer(config, i) if a.decodes(i) else bart.BartEncoderLayer(config) for i in range(depth)]
    return BartEmbeddings(a), list[nn.Module](layers)


def fill_buffers(module: nn.Module, device: torch.device) -> None:
    """Position and token-type ids are constants that the meta device has left without values."""
    for name, buffer in list(module.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        if leaf == "position_ids":
            value = torch.arange(buffer.shape[-1], device=device).expand(1, -1)
        elif leaf == "token_type_ids":
            value = torch.zeros(buffer.shape, dtype=torch.long, device=device)
        else:
            raise ValueError(f"buffer without a known value: {name}")
        module.get_submodule(owner).register_buffer(leaf, value, persistent=False)
