"""Sizes as the config.json of a `transformers` model says them, both ways."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedsim.errors import UserError, choose
from fedsim.model.architecture import Architecture, Decoder, Head

_SIZES = {
    "bert": {
        "vocabulary": "vocab_size",
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "feed_forward": "intermediate_size",
        "max_positions": "max_position_embeddings",
        "dropout": "hidden_dropout_prob",
        "activation": "hidden_act",
        "norm_eps": "layer_norm_eps",
    },
    "distilbert": {
        "vocabulary": "vocab_size",
        "hidden": "dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "feed_forward": "hidden_dim",
        "max_positions": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation",
    },
    "bart": {
        "vocabulary": "vocab_size",
        "hidden": "d_model",
        "layers": "encoder_layers",
        "heads": "encoder_attention_heads",
        "feed_forward": "encoder_ffn_dim",
        "max_positions": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation_function",
    },
}
"""Names in config.json, by family; of an encoder-decoder `layers` are here those of the encoder alone."""
_DECODER = {"heads": "decoder_attention_heads", "feed_forward": "decoder_ffn_dim"}
"""What both sides of an encoder-decoder say for themselves, and have in common here."""
_BASE = Architecture("bert", 0, 768, 12, 12, 3072, 512, 0.1)
_UNSAID = {
    "bert": _BASE,
    "distilbert": _BASE,
    "bart": replace(_BASE, hidden=1024, heads=16, feed_forward=4096, max_positions=1024),
}
"""What a model has whose config.json does not say it."""
_NAMES = {"bert": "Bert", "distilbert": "DistilBert", "bart": "Bart"}
_CLASSES = {"mlm": "ForMaskedLM", "pooler": "ForSequenceClassification"}
_BART_CLASSES = {"mlm": "ForConditionalGeneration", "pooler": "ForSequenceClassification"}


def parse(config: Mapping[str, Any], file: Path, key: str) -> Architecture:
    """Sizes from what config.json holds.

    Raises:
        UserError: another family, or a variant that is not supported.
    """
    family = config.get("model_type")
    if family not in _SIZES:
        raise UserError(f"model_type '{family}' is not supported; {choose(str(family), _SIZES)}", file=file, key=key)
    names = _SIZES[family]
    missing = [names[field] for field in ("vocabulary", "hidden") if names[field] not in config]
    if missing:
        raise UserError(f"lacks {', '.join(missing)}", file=file, key=key)
    sizes = {field: config.get(name, getattr(_UNSAID[family], field)) for field, name in names.items()}
    found = Architecture(family=family, **sizes)
    refused = _refused(config, found)
    if family == "bart":
        start, pad = config.get("decoder_start_token_id", 2), config.get("pad_token_id", 1)
        found = replace(found, decoder=Decoder(config.get("decoder_layers", 12), start, pad))
        refused = _refused_of_bart(config, found)
        found = replace(found, layers=found.layers + found.decoder_layers)
    for what, present in refused.items():
        if present:
            raise UserError(f"the checkpoint has {what}, which is not supported", file=file, key=key)
    return found


def _refused(config: Mapping[str, Any], found: Architecture) -> dict[str, bool]:
    attention = config.get("attention_probs_dropout_prob", config.get("attention_dropout", found.dropout))
    return {
        "attention dropout other than that of hidden states": attention != found.dropout,
        "sinusoidal positions": config.get("sinusoidal_pos_embds", False),
        "relative positions": config.get("position_embedding_type", "absolute") != "absolute",
        "a decoder": config.get("is_decoder", False),
        "token types other than 2": config.get("type_vocab_size", 2) != 2,
    }


def _refused_of_bart(config: Mapping[str, Any], found: Architecture) -> dict[str, bool]:
    assert found.decoder is not None
    others = (config.get(name, 0.0) for name in ("attention_dropout", "activation_dropout"))
    return {
        "dropout of attention or activations other than that of hidden states": any(p != found.dropout for p in others),
        "layers that are dropped": any(config.get(f"{side}_layerdrop", 0.0) > 0 for side in ("encoder", "decoder")),
        "scaled embeddings": config.get("scale_embedding", False),
        "a decoder whose layers are of other sizes than the encoder's": any(
            config.get(name, getattr(found, field)) != getattr(found, field) for field, name in _DECODER.items()
        ),
        "a decoder that begins with another token than samples end with": config.get("eos_token_id", 2)
        != found.decoder.start,
    }


def written(architecture: Architecture, head: Head, labels: tuple[str, ...]) -> dict[str, Any]:
    """What config.json holds of a model with this head; `labels` are the names of its classes, where they have some."""
    a = architecture
    named = labels or tuple(f"LABEL_{i}" for i in range(head.classes))
    classes = (
        {"id2label": dict(enumerate(named)), "label2id": {n: i for i, n in enumerate(named)}} if head.classes else {}
    )
    sizes = {name: getattr(a, field) for field, name in _SIZES[a.family].items()}
    return {
        "architectures": [_NAMES[a.family] + _class(a, head)],
        "model_type": a.family,
        "dtype": "float32",
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        **sizes,
        **_of_family(a),
        **classes,
    }


def _class(a: Architecture, head: Head) -> str:
    """`transformers` has no BART that classifies tokens."""
    if a.decoder is not None:
        return _BART_CLASSES.get(head.kind, "Model")
    return _CLASSES.get(head.kind, "ForTokenClassification")


def _of_family(a: Architecture) -> dict[str, Any]:
    if a.family == "bert":
        return {"attention_probs_dropout_prob": a.dropout, "classifier_dropout": a.dropout, "type_vocab_size": 2}
    if a.decoder is None:
        return {"attention_dropout": a.dropout, "seq_classif_dropout": a.dropout}
    start = a.decoder.start
    return {
        "encoder_layers": a.encoder_layers,
        "decoder_layers": a.decoder_layers,
        **{name: getattr(a, field) for field, name in _DECODER.items()},
        **dict.fromkeys(("attention_dropout", "activation_dropout", "classifier_dropout"), a.dropout),
        "pad_token_id": a.decoder.pad,
        "bos_token_id": None,
        **dict.fromkeys(("eos_token_id", "decoder_start_token_id", "forced_eos_token_id"), start),
        "is_encoder_decoder": True,
    }
