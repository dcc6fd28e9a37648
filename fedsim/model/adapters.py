"""Low-rank factors beside the matrices of a layer (LoRA): where they lie, how they start, what they amount to.

A group `lora.3` holds the factors beside layer 3 that are trained; where A is never trained, it is in `lora_a.3`. Names
are those that the `peft` library gives the factors inside a layer.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt

from fedsim import rng
from fedsim.model.architecture import Architecture
from fedsim.model.layout import FloatArray, Groups, Layout, layer_axes, layer_layout
from fedsim.plan import ADAPTER, FROZEN, Adapters, layer

TARGETS = ("query", "key", "value", "attention_output", "feed_forward_in", "feed_forward_out")
"""The matrices of a layer, in the order in which it has them."""


def paths(architecture: Architecture) -> dict[str, str]:
    """The module of each target inside a layer of `transformers`."""
    matrices = [name.removesuffix(".weight") for name, axes in layer_axes(architecture).items() if len(axes) == 2]
    return dict(zip(TARGETS, matrices, strict=True))


def matrix_sizes(architecture: Architecture, index: int) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each target in a layer."""
    shapes = dict(layer_layout(architecture, index).tensors)
    sizes = {target: shapes[f"{path}.weight"] for target, path in paths(architecture).items()}
    return {target: (shape[0], shape[1]) for target, shape in sizes.items()}


def adapter_layouts(architecture: Architecture, adapters: Adapters, index: int) -> dict[str, Layout]:
    """The groups beside a layer: what is trained, and what is not where A is frozen."""
    sizes, inside = matrix_sizes(architecture, index), paths(architecture)
    a = {f"{inside[t]}.lora_A.default.weight": (adapters.rank, sizes[t][1]) for t in adapters.targets}
    b = {f"{inside[t]}.lora_B.default.weight": (sizes[t][0], adapters.rank) for t in adapters.targets}
    if adapters.train_a:
        return {f"{ADAPTER}{index}": Layout(tuple((a | b).items()))}
    return {f"{ADAPTER}{index}": Layout(tuple(b.items())), f"{FROZEN}{index}": Layout(tuple(a.items()))}


def all_adapter_layouts(architecture: Architecture, adapters: Adapters | None) -> dict[str, Layout]:
    """Those of every layer, bottom first; none without adapters."""
    found: dict[str, Layout] = {}
    for index in range(architecture.layers) if adapters else ():
        assert adapters is not None
        found |= adapter_layouts(architecture, adapters, index)
    return found


def initial_adapters(architecture: Architecture, adapters: Adapters | None, seed: int) -> dict[str, FloatArray]:
    """Factors before training: B is zero, and A uniform within 1 / sqrt(inputs), as `peft` draws it."""
    groups = {}
    for name, layout in all_adapter_layouts(architecture, adapters).items():
        flat, draw = np.zeros(layout.size, np.float32), rng.stream(seed, "init", name)
        for tensor, view in layout.split(flat).items():
            if ".lora_A." in tensor:
                bound = 1.0 / sqrt(view.shape[1])
                view[...] = draw.uniform(-bound, bound, view.shape)
        groups[name] = flat
    return groups


def merged(architecture: Architecture, adapters: Adapters | None, groups: Groups) -> dict[str, FloatArray]:
    """The model without adapters that gives the same answers: W + (alpha / rank) B A in place of W."""
    if adapters is None:
        return dict(groups)
    after = {name: values for name, values in groups.items() if not name.startswith((ADAPTER, FROZEN))}
    for index in range(architecture.layers):
        own = layer_layout(architecture, index)
        flat = groups[layer(index)].copy()
        views, factors = own.split(flat), _factors(architecture, adapters, groups, index)
        for target in adapters.targets:
            a, b = factors[target]
            views[f"{paths(architecture)[target]}.weight"][...] += np.float32(adapters.scaling) * (b @ a)
        after[layer(index)] = flat
    return after


def _factors(
    architecture: Architecture, adapters: Adapters, groups: Groups, index: int
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """A and B of each target beside a layer."""
    tensors: dict[str, FloatArray] = {}
    for name, layout in adapter_layouts(architecture, adapters, index).items():
        tensors |= layout.split(groups[name])
    inside = paths(architecture)
    return {
        target: (tensors[f"{inside[target]}.lora_A.default.weight"], tensors[f"{inside[target]}.lora_B.default.weight"])
        for target in adapters.targets
    }


def product_layout(architecture: Architecture, adapters: Adapters, index: int) -> Layout:
    """The products B A beside a layer, one matrix a target."""
    sizes = matrix_sizes(architecture, index)
    return Layout(tuple((target, sizes[target]) for target in adapters.targets))


def refactored(architecture: Architecture, adapters: Adapters, index: int, products: FloatArray) -> FloatArray:
    """The factors whose products come nearest to these, as the vector of the group beside a layer.

    The singular value decomposition cut after `rank` values; both factors are given the root of each, so that steps of
    one size suit both. Where the products have no higher rank, they are met but for rounding.
    """
    (layout,) = adapter_layouts(architecture, adapters, index).values()
    inside, tensors = paths(architecture), dict[str, npt.NDArray[np.generic]]()
    for target, matrix in product_layout(architecture, adapters, index).split(products).items():
        left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
        roots = np.sqrt(values[: adapters.rank])
        tensors[f"{inside[target]}.lora_A.default.weight"] = roots[:, None] * right[: adapters.rank]
        tensors[f"{inside[target]}.lora_B.default.weight"] = left[:, : adapters.rank] * roots
    return layout.join(tensors)
