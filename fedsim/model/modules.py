"""Embeddings and layers as those of `transformers`, family by family."""

import torch
from torch import nn

from fedsim.model.architecture import Architecture
from fedsim.model.encoder import BertEmbeddings, BertLayer, DistilBertEmbeddings, DistilBertLayer
from fedsim.model.meta import unallocated

Modules = tuple[nn.Module, list[nn.Module]]
"""Embeddings, and layers from the bottom up."""

_ENCODERS = {"bert": (BertEmbeddings, BertLayer), "distilbert": (DistilBertEmbeddings, DistilBertLayer)}


def build_modules(architecture: Architecture, depth: int) -> Modules:
    """Embeddings and `depth` layers, on the meta device: nothing is allocated or initialised."""
    with unallocated():
        if architecture.family == "bart":
            return _bart(architecture, depth)
        embeddings, layer = _ENCODERS[architecture.family]
        return embeddings(architecture), [layer(architecture) for _ in range(depth)]


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
