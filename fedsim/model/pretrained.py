"""Checkpoints of `transformers`: read into groups, written from groups. Needs neither torch nor a model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedsim.errors import UserError
from fedsim.model import config
from fedsim.model.architecture import Architecture, Head, Heads
from fedsim.model.layout import FloatArray, Groups, Layout, layouts
from fedsim.plan import EMBEDDINGS, HEAD, layer

KEPT_HEADS = "kept_heads.json"
"""Beside a model whose attention heads were pruned: layer -> numbers of the heads that are left."""
_PREFIXES = {"bert": "bert", "distilbert": "distilbert", "bart": "model"}
_LAYERS = {"bert": "encoder.layer", "distilbert": "transformer.layer", "bart": "encoder.layers"}
_BART_EMBEDDINGS = {
    "word_embeddings": "shared",
    "encoder.positions": "encoder.embed_positions",
    "encoder.LayerNorm": "encoder.layernorm_embedding",
    "decoder.positions": "decoder.embed_positions",
    "decoder.LayerNorm": "decoder.layernorm_embedding",
}
_ROW = "final_logits_bias"
"""A vector that `transformers` keeps as a matrix of one row."""
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
    ("bart", "mlm"): {"bias": _ROW},
    ("bart", "pooler"): {"dense": "classification_head.dense", "classifier": "classification_head.out_proj"},
}


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
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"cannot be read: {error}", file=file, key=key) from error
    found = config.parse(stored, file, key)
    return replace(found, kept_heads=_read_kept_heads(folder, found.layers, found.heads, key))


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
    prefix = _PREFIXES[architecture.family]
    if not any(name.startswith(f"{prefix}.") for name in stored):
        stored = {f"{prefix}.{name}": value for name, value in stored.items()}
    if _ROW in stored:
        stored[_ROW] = stored[_ROW].reshape(-1)
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
    [CLS], for `mean` their mean over the tokens. For BART `transformers` has no such model: it opens with `AutoModel`,
    and the head is the tensors `classifier.weight` and `classifier.bias` in the same file. Where attention heads were
    pruned, matrices are smaller than config.json says, so that `from_pretrained` refuses them; kept_heads.json says
    which heads each layer has.
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
    if _ROW in tensors:
        tensors[_ROW] = tensors[_ROW][None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(config.written(architecture, head, labels), indent=2) + "\n", encoding="utf-8"
    )


def _full_names(architecture: Architecture, head: Head, group: str, layout: Layout) -> dict[str, str]:
    """Name in the group -> name in `transformers`' state dict."""
    family, prefix = architecture.family, _PREFIXES[architecture.family]
    if group == EMBEDDINGS and architecture.decoder is not None:
        ends = {name: name.rpartition(".") for name, _ in layout.tensors}
        return {name: f"{prefix}.{_BART_EMBEDDINGS[module]}.{leaf}" for name, (module, _, leaf) in ends.items()}
    if group == EMBEDDINGS:
        return {name: f"{prefix}.embeddings.{name}" for name, _ in layout.tensors}
    if group == HEAD:
        places = _HEADS.get((family, head.kind), {"classifier": "classifier"})
        parts = {name: name.partition(".") for name, _ in layout.tensors}
        return {name: places[first] + dot + rest for name, (first, dot, rest) in parts.items()}
    index = int(group.removeprefix(layer(0)[:-1]))
    place = f"{_LAYERS[family]}.{index}"
    if architecture.decodes(index):
        place = f"decoder.layers.{index - architecture.encoder_layers}"
    return {name: f"{prefix}.{place}.{name}" for name, _ in layout.tensors}
