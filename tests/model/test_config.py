"""What config.json says, and what of it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import BartConfig, BertConfig

from fedsim.errors import UserError
from fedsim.model.architecture import Architecture, Decoder
from fedsim.model.config import parse

EVEN = {"attention_dropout": 0.1, "activation_dropout": 0.1}


def parsed(given: dict[str, Any]) -> Architecture:
    return parse(given, Path("config.json"), "model.checkpoint")


def stored(**changes: Any) -> dict[str, Any]:
    """What `transformers` writes for a BART with these settings."""
    found: dict[str, Any] = json.loads(BartConfig(**(EVEN | changes)).to_json_string(use_diff=False))
    return found


def test_sizes_of_both_sides() -> None:
    found = parsed(stored(encoder_layers=3, decoder_layers=2, pad_token_id=4))
    assert found == Architecture(
        "bart", 50265, 1024, 5, 16, 4096, 1024, 0.1, activation="gelu", decoder=Decoder(2, 2, 4)
    )
    assert (found.encoder_layers, found.decoder_layers) == (3, 2)


def test_what_is_not_said_is_what_transformers_takes() -> None:
    bare = {"model_type": "bart", "vocab_size": 50265, "d_model": 1024, "dropout": 0.1, **EVEN}
    assert parsed(bare) == parsed(stored())
    bert = {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768}
    assert parsed(bert) == parsed(json.loads(BertConfig().to_json_string(use_diff=False)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attention_dropout": 0.0}, "dropout of attention or activations other than that of hidden states"),
        ({"activation_dropout": 0.0}, "dropout of attention or activations other than that of hidden states"),
        ({"decoder_layerdrop": 0.2}, "layers that are dropped"),
        ({"scale_embedding": True}, "scaled embeddings"),
        ({"decoder_ffn_dim": 64}, "a decoder whose layers are of other sizes"),
        ({"decoder_attention_heads": 8}, "a decoder whose layers are of other sizes"),
        ({"decoder_start_token_id": 0}, "a decoder that begins with another token than samples end with"),
    ],
)
def test_variants_that_are_not_supported(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=f"the checkpoint has {says}"):
        parsed(stored(**changes))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="lacks d_model"):
        parsed({"model_type": "bart", "vocab_size": 10})
    with pytest.raises(UserError, match="model_type 't5' is not supported"):
        parsed({"model_type": "t5"})
