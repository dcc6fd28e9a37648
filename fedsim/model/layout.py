"""Where every parameter of a group lies in the group's flat buffer.

A group (`embeddings`, `layer.3`, `head`) is one contiguous float32 vector: matrices first, since weight decay
acts on them alone, then biases and norms. The driver moves, averages and stores such vectors and needs
neither torch nor a model for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedsim.model.architecture import Architecture, Head
from fedsim.plan import EMBEDDINGS, HEAD, exit_head, layer

FloatArray = npt.NDArray[np.float32]
Groups = Mapping[str, FloatArray]
Shape = tuple[int, ...]
Axis = Literal["hidden", "attention", "units"]
"""What an axis of a layer's tensor counts: the model's width, its heads' widths, or feed-forward units."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a group's tensors in the order in which they lie in its vector."""

    tensors: tuple[tuple[str, Shape], ...]

    @cached_property
    def size(self) -> int:
        """Parameters."""
        return sum(prod(shape) for _, shape in self.tensors)

    @cached_property
    def decayed(self) -> int:
        """Parameters that weight decay acts on; they come first."""
        return sum(prod(shape) for _, shape in self.tensors if len(shape) > 1)

    @property
    def bytes(self) -> int:
        """Bytes as float32."""
        return 4 * self.size

    def split(self, flat: FloatArray) -> dict[str, FloatArray]:
        """Views of the tensors inside a vector of shape [size]."""
        views, start = {}, 0
        for name, shape in self.tensors:
            stop = start + prod(shape)
            views[name] = flat[start:stop].reshape(shape)
            start = stop
        return views

    def join(self, tensors: Mapping[str, npt.NDArray[np.generic]]) -> FloatArray:
        """The vector of shape [size] that holds these tensors."""
        flat = np.empty(self.size, np.float32)
        for name, view in self.split(flat).items():
            view[...] = tensors[name]
        return flat


def _layout(**tensors: Shape) -> Layout:
    return Layout(tuple(sorted(tensors.items(), key=lambda item: len(item[1]) < 2)))


def _dense(name: str, out: int, into: int) -> dict[str, Shape]:
    prefix = f"{name}." if name else ""
    return {f"{prefix}weight": (out, into), f"{prefix}bias": (out,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def embeddings_layout(architecture: Architecture) -> Layout:
    """Word, position and (BERT) token-type embeddings and their norm; positions and norm of a decoder are its own."""
    a = architecture
    words = {"word_embeddings.weight": (a.vocabulary, a.hidden)}
    if a.decoder is not None:
        # BART's tables of positions begin with two rows that are never read
        positions = {f"{side}.positions.weight": (a.max_positions + 2, a.hidden) for side in ("encoder", "decoder")}
        norms = _norm("encoder.LayerNorm", a.hidden) | _norm("decoder.LayerNorm", a.hidden)
        return _layout(**words, **positions, **norms)
    types = {"token_type_embeddings.weight": (2, a.hidden)} if a.family == "bert" else {}
    return _layout(
        **words,
        **{"position_embeddings.weight": (a.max_positions, a.hidden)},
        **types,
        **_norm("LayerNorm", a.hidden),
    )


def layer_axes(architecture: Architecture, index: int = 0) -> dict[str, tuple[Axis, ...]]:
    """The tensors of a layer, under the names of its `transformers` module, and what their axes count."""
    if architecture.decoder is not None:
        return _bart_axes(architecture.decodes(index))
    if architecture.family == "bert":
        projections, mixed = [f"attention.self.{part}" for part in ("query", "key", "value")], "attention.output.dense"
        norms, inner, outer = ("attention.output.LayerNorm", "output.LayerNorm"), "intermediate.dense", "output.dense"
    else:
        projections, mixed = [f"attention.{part}_lin" for part in "qkv"], "attention.out_lin"
        norms, inner, outer = ("sa_layer_norm", "output_layer_norm"), "ffn.lin1", "ffn.lin2"
    dense: dict[str, tuple[Axis, Axis]] = dict.fromkeys(projections, ("attention", "hidden"))
    dense |= {mixed: ("hidden", "attention"), inner: ("units", "hidden"), outer: ("hidden", "units")}
    return _axes(dense, norms)


def _bart_axes(decodes: bool) -> dict[str, tuple[Axis, ...]]:
    """A decoder's layer has a second attention, to what the encoder has made."""
    attentions = ("self_attn", "encoder_attn") if decodes else ("self_attn",)
    dense: dict[str, tuple[Axis, Axis]] = {}
    for attention in attentions:
        dense |= {f"{attention}.{part}_proj": ("attention", "hidden") for part in "qkv"}
        dense[f"{attention}.out_proj"] = ("hidden", "attention")
    dense |= {"fc1": ("units", "hidden"), "fc2": ("hidden", "units")}
    return _axes(dense, [*(f"{attention}_layer_norm" for attention in attentions), "final_layer_norm"])


def _axes(dense: Mapping[str, tuple[Axis, Axis]], norms: Sequence[str]) -> dict[str, tuple[Axis, ...]]:
    axes: dict[str, tuple[Axis, ...]] = {}
    for name, (out, into) in dense.items():
        axes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    for name in norms:
        axes |= {f"{name}.weight": ("hidden",), f"{name}.bias": ("hidden",)}
    return axes


def layer_layout(architecture: Architecture, index: int) -> Layout:
    """One layer; its place matters where there is a decoder, or where layers have kept different numbers of heads."""
    a = architecture
    sizes: dict[Axis, int] = {"hidden": a.hidden, "attention": a.attention_width(index), "units": a.feed_forward}
    return _layout(**{name: tuple(sizes[axis] for axis in axes) for name, axes in layer_axes(a, index).items()})


def head_layout(architecture: Architecture, head: Head) -> Layout:
    """The head; the matrix in front of the vocabulary is the word embedding and is not part of it."""
    a = architecture
    if head.kind == "mlm" and a.decoder is not None:
        return _layout(bias=(a.vocabulary,))
    if head.kind == "mlm":
        return _layout(**_dense("dense", a.hidden, a.hidden), **_norm("norm", a.hidden), bias=(a.vocabulary,))
    pooling = _dense("dense", a.hidden, a.hidden) if head.kind == "pooler" else {}
    return _layout(**pooling, **_dense("classifier", head.classes, a.hidden))


def projection_layout(hidden: int, teacher_hidden: int) -> Layout:
    """What makes a student's states comparable with its teacher's (TinyBERT's W_h)."""
    return _layout(**_dense("", teacher_hidden, hidden))


def layouts(architecture: Architecture, head: Head, exits: Sequence[int] = ()) -> dict[str, Layout]:
    """Every group of the global model, from the embeddings up to the head; `exits` are depths of further heads."""
    return {
        EMBEDDINGS: embeddings_layout(architecture),
        **{layer(i): layer_layout(architecture, i) for i in range(architecture.layers)},
        **{exit_head(depth): head_layout(architecture, head) for depth in exits},
        HEAD: head_layout(architecture, head),
    }


def packed_layout(architecture: Architecture, head: Head) -> Layout:
    """A whole model as one group, as a teacher is sent: its groups one after the other."""
    found = layouts(architecture, head).items()
    return Layout(tuple((f"{group}/{name}", shape) for group, layout in found for name, shape in layout.tensors))


def pack(groups: Groups) -> FloatArray:
    """The vector of such a group."""
    return np.concatenate(list(groups.values()))


def initialise(layout: Layout, rng: np.random.Generator) -> FloatArray:
    """BERT's initialisation (Devlin et al. 2019): matrices N(0, 0.02), norms 1, biases 0, [PAD]'s embedding 0."""
    flat = np.zeros(layout.size, np.float32)
    for name, view in layout.split(flat).items():
        if view.ndim > 1:
            view[...] = rng.standard_normal(view.shape, np.float32) * np.float32(0.02)
        elif name.lower().endswith("norm.weight"):
            view[...] = 1.0
        if name == "word_embeddings.weight":
            view[0] = 0.0
    return flat
