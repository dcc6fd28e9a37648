"""Checkpoints of `transformers`: read into groups, written from groups. Needs neither torch nor a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fedsim.errors import UserError, choose
from fedsim.model.architecture import Architecture, Head, Heads
from fedsim.model.layout import FloatArray, Groups, Layout, layouts
from fedsim.plan import EMBEDDINGS, HEAD, layer

# transformers' configuration names, by family
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
}
KEPT_HEADS = "kept_heads.json"
"""Beside a model whose attention heads were pruned: layer -> numbers of the heads that are left."""
_LAYERS = {"bert": "encoder.layer", "distilbert": "transformer.layer"}
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_HEADS = {
    ("bert", "mlm"): {
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
    },
    ("bert", "pooler"): {"dense": "bert.pooler.dense", "classifier": "classifier"},
    ("distilbert", "mlm"): {
        "dense": "vocab_transform",
        "norm": "vocab_layer_norm",
        "bias": "vocab_projector.bias",
    },
    ("distilbert", "pooler"): {"dense": "pre_classifier", "classifier": "classifier"},
}
_CLASSES = {"mlm": "ForMaskedLM", "pooler": "ForSequenceClassification"}
_NAMES = {"bert": "Bert", "distilbert": "DistilBert"}


def find(checkpoint: str, base: Path, key: str) -> Path:
    """The folder of a checkpoint: a local one, or downloaded from the hub.

    Raises:
        UserError: there is no such folder, and the hub has none or cannot be reached.
    """
    folder = base / checkpoint
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() or checkpoint.startswith((".", "/", "~")):
        raise UserError(f"no checkpoint at {folder}: it must hold config.json and model.safetensors", key=key)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(checkpoint, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except Exception as error:  # the hub client has many ways to say no; the user needs one sentence
        cause = str(error).splitlines()[0]
        raise UserError(
            f"cannot get '{checkpoint}' from the hub, and no such local folder: {cause}", key=key
        ) from error


def read_architecture(folder: Path, key: str) -> Architecture:
    """Sizes from a checkpoint's config.json.

    Raises:
        UserError: another family, or a variant that is not supported.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"cannot be read: {error}", file=file, key=key) from error
    family = config.get("model_type")
    if family not in _SIZES:
        raise UserError(f"model_type '{family}' is not supported; {choose(str(family), _SIZES)}", file=file, key=key)
    missing = [
        name for field, name in _SIZES[family].items() if name not in config and field in ("vocabulary", "hidden")
    ]
    if missing:
        raise UserError(f"lacks {', '.join(missing)}", file=file, key=key)
    defaults = Architecture(family, 0, 768, 12, 12, 3072, 512, 0.1)
    sizes = {field: config.get(name, getattr(defaults, field)) for field, name in _SIZES[family].items()}
    attention = config.get("attention_probs_dropout_prob", config.get("attention_dropout", sizes["dropout"]))
    refused = {
        "attention dropout other than that of hidden states": attention != sizes["dropout"],
        "sinusoidal positions": config.get("sinusoidal_pos_embds", False),
        "relative positions": config.get("position_embedding_type", "absolute") != "absolute",
        "a decoder": config.get("is_decoder", False),
        "token types other than 2": config.get("type_vocab_size", 2) != 2,
    }
    for what, present in refused.items():
        if present:
            raise UserError(f"the checkpoint has {what}, which is not supported", file=file, key=key)
    return Architecture(
        family=family, **sizes, kept_heads=_read_kept_heads(folder, sizes["layers"], sizes["heads"], key)
    )


def _read_kept_heads(folder: Path, layers: int, heads: int, key: str) -> Heads | None:
    file = folder / KEPT_HEADS
    if not file.is_file():
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(tuple(kept[str(index)]) for index in range(layers))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"must list the heads of each of {layers} layers: {error!r}", file=file, key=key) from error
    for index, own in enumerate(found):
        if not own or list(own) != sorted({head for head in own if head in range(heads)}):
            raise UserError(
                f"layer {index} must list at least one of the heads 0 to {heads - 1}, each once and in ascending order",
                file=file,
                key=key,
            )
    return found


def read_groups(folder: Path, architecture: Architecture, head: Head, key: str) -> dict[str, FloatArray]:
    """The groups found in a checkpoint; `head` is absent when the checkpoint has another one.

    Raises:
        UserError: no model.safetensors, a damaged one, or encoder weights missing or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = folder / "model.safetensors"
    if not file.is_file():
        raise UserError(f"no model.safetensors in {folder}: save the model with save_pretrained", key=key)
    try:
        stored = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot be read: {error}", file=file, key=key) from error
    for old, new in _OLD_NAMES.items():
        stored = {name.replace(old, new): value for name, value in stored.items()}
    if not any(name.startswith(f"{architecture.family}.") for name in stored):
        stored = {f"{architecture.family}.{name}": value for name, value in stored.items()}
    groups: dict[str, FloatArray] = {}
    for group, layout in layouts(architecture, head).items():
        names = _full_names(architecture, head, group, layout)
        missing = [full for full in names.values() if full not in stored]
        if missing and group == HEAD:
            continue
        if missing:
            raise UserError(f"lacks {missing[0]} (and {len(missing) - 1} more)", file=file, key=key)
        for (name, shape), full in zip(layout.tensors, names.values(), strict=True):
            if stored[full].shape != shape and group != HEAD:
                raise UserError(f"{full} has shape {stored[full].shape}, {name} needs {shape}", file=file, key=key)
        if all(stored[full].shape == shape for (_, shape), full in zip(layout.tensors, names.values(), strict=True)):
            groups[group] = layout.join({name: stored[full] for name, full in names.items()})
    return groups


def write(folder: Path, architecture: Architecture, head: Head, groups: Groups, labels: tuple[str, ...] = ()) -> None:
    """Save as `save_pretrained` would: config.json and model.safetensors, opened by `AutoModel...from_pretrained`.

    `linear`, `mean` and `tokens` heads open with `AutoModelForTokenClassification`: for `linear` read the logits of
    [CLS], for `mean` their mean over the tokens. Where attention heads were pruned, matrices are smaller than
    config.json says, so that `from_pretrained` refuses them; kept_heads.json says which heads each layer has.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if architecture.kept_heads is not None:
        kept = {str(index): list(heads) for index, heads in enumerate(architecture.kept_heads)}
        (folder / KEPT_HEADS).write_text(json.dumps(kept) + "\n", encoding="utf-8")
    tensors: dict[str, FloatArray] = {}
    for group, layout in layouts(architecture, head).items():
        names = _full_names(architecture, head, group, layout)
        tensors |= {names[name]: np.ascontiguousarray(view) for name, view in layout.split(groups[group]).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(_config(architecture, head, labels), indent=2) + "\n", encoding="utf-8"
    )


def _config(architecture: Architecture, head: Head, labels: tuple[str, ...]) -> dict[str, Any]:
    a = architecture
    sizes = {name: getattr(a, field) for field, name in _SIZES[a.family].items()}
    if a.family == "bert":
        dropouts = {"attention_probs_dropout_prob": a.dropout, "classifier_dropout": a.dropout, "type_vocab_size": 2}
    else:
        dropouts = {"attention_dropout": a.dropout, "seq_classif_dropout": a.dropout}
    names = labels or tuple(f"LABEL_{i}" for i in range(head.classes))
    classes = (
        {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}} if head.classes else {}
    )
    return {
        "architectures": [_NAMES[a.family] + _CLASSES.get(head.kind, "ForTokenClassification")],
        "model_type": a.family,
        "dtype": "float32",
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        **sizes,
        **dropouts,
        **classes,
    }


def _full_names(architecture: Architecture, head: Head, group: str, layout: Layout) -> dict[str, str]:
    """Name in the group -> name in `transformers`' state dict."""
    family = architecture.family
    if group == EMBEDDINGS:
        return {name: f"{family}.embeddings.{name}" for name, _ in layout.tensors}
    if group == HEAD:
        places = _HEADS.get((family, head.kind), {"classifier": "classifier"})
        parts = {name: name.partition(".") for name, _ in layout.tensors}
        return {name: places[first] + dot + rest for name, (first, dot, rest) in parts.items()}
    index = int(group.removeprefix(layer(0)[:-1]))
    return {name: f"{family}.{_LAYERS[family]}.{index}.{name}" for name, _ in layout.tensors}
