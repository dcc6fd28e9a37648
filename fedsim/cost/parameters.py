"""How many parameters, tensors and bytes a plan has, from sizes alone: nothing is built."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from fedsim.data.work import IntArray
from fedsim.model.adapters import all_adapter_layouts
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import Layout, embeddings_layout, head_layout, layer_layout, layouts, projection_layout
from fedsim.plan import ADAPTER, EMBEDDINGS, HEAD, PartName

BYTES_PER_PARAMETER = 4
"""Weights, gradients and optimizer state are float32."""


@dataclass(frozen=True)
class Size:
    """Size of a part of a model. The tied MLM decoder is the word embedding and is counted there, once."""

    parameters: int
    tensors: int

    @property
    def bytes(self) -> int:
        """Bytes as float32, without the framing of a file or message."""
        return self.parameters * BYTES_PER_PARAMETER


def group_sizes(architecture: Architecture, head: Head) -> dict[str, Size]:
    """Every group of the global model: `embeddings`, `layer.0` ... , `head`."""
    return {name: _size([layout]) for name, layout in layouts(architecture, head).items()}


def group_bytes(architecture: Architecture, head: Head) -> IntArray:
    """Bytes of the groups in the order of `group_sizes`, shape [layers + 2]."""
    return np.array([size.bytes for size in group_sizes(architecture, head).values()], dtype=np.int64)


def local_size(shape: LocalShape) -> Size:
    """The local model that a client builds; a student's teacher and projection are part of it."""
    return _size(local_layouts(shape))


def trained_size(shape: LocalShape) -> Size:
    """What a client trains; a global layer that fills two trained places counts twice."""
    return _size(trained_layouts(shape))


def local_layouts(shape: LocalShape) -> list[Layout]:
    """All that a local model is made of; a student's teacher and projection are part of it."""
    a, teacher = shape.architecture, shape.teacher
    layers = [layer_layout(a, place) for place in range(shape.depth)]
    heads = [head_layout(a, shape.head)] * (1 + len(shape.exits))
    own = [embeddings_layout(a), *layers, *_adapter_groups(shape).values(), *heads, *_projection(shape)]
    return [*own, *(layouts(teacher.architecture, teacher.head).values() if teacher else ())]


def trained_layouts(shape: LocalShape, private: Collection[PartName] = ()) -> list[Layout]:
    """What a client trains, without what is private."""
    parts = [layer_layout(shape.architecture, place) for place in shape.train_layers if place not in private]
    if shape.train_embeddings and EMBEDDINGS not in private:
        parts.append(embeddings_layout(shape.architecture))
    if shape.train_head and HEAD not in private:
        parts += [head_layout(shape.architecture, shape.head)] * (1 + len(shape.exits))
    trained = [layout for name, layout in _adapter_groups(shape).items() if name.startswith(ADAPTER)]
    return [*parts, *(trained if shape.train_adapters else ()), *_projection(shape)]


def _adapter_groups(shape: LocalShape) -> dict[str, Layout]:
    return all_adapter_layouts(shape.architecture, shape.adapters)


def _projection(shape: LocalShape) -> list[Layout]:
    distillation = shape.distillation
    if distillation is None or not distillation.projection:
        return []
    return [projection_layout(shape.architecture.hidden, distillation.teacher.hidden)]


def _size(parts: list[Layout]) -> Size:
    return Size(sum(part.size for part in parts), sum(len(part.tensors) for part in parts))
