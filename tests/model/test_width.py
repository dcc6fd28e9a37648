"""Index maps of narrower layers: what they hold, and that nothing is left out."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedsim import rng
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, initialise, layer_layout, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.model.width import Window, layer_entries, row
from fedsim.plan import layer

HIDDEN, HEADS, UNITS, LAYERS = 24, 6, 20, 3
FAMILIES = pytest.mark.parametrize("family", ["bert", "distilbert"])
NAMES = {
    "bert": (
        "attention.self.query",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ),
    "distilbert": ("attention.q_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
}


def architecture(family: str) -> Architecture:
    return Architecture(family, 40, HIDDEN, LAYERS, HEADS, UNITS, 12, 0.0)  # type: ignore[arg-type]


@FAMILIES
def test_a_narrow_layer_holds_rows_and_columns_of_the_wide_one(family: str) -> None:
    a = architecture(family)
    heads, units = np.array([1, 4, 5]), np.array([0, 3, 17])
    narrow = replace(a, kept_heads=((1, 4, 5),) * LAYERS, feed_forward=3)
    layout = layer_layout(a, 0)
    wide = np.arange(layout.size, dtype=np.float32)
    held = layer_layout(narrow, 0).split(wide[layer_entries(a, 0, heads, units)])
    all_of = layout.split(wide)
    rows = np.array([4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23])
    query, mixer, inner, outer, norm = NAMES[family]
    assert held[f"{query}.weight"].tolist() == all_of[f"{query}.weight"][rows].tolist()
    assert held[f"{query}.bias"].tolist() == all_of[f"{query}.bias"][rows].tolist()
    assert held[f"{mixer}.weight"].tolist() == all_of[f"{mixer}.weight"][:, rows].tolist()
    assert held[f"{mixer}.bias"].tolist() == all_of[f"{mixer}.bias"].tolist()
    assert held[f"{inner}.weight"].tolist() == all_of[f"{inner}.weight"][units].tolist()
    assert held[f"{outer}.weight"].tolist() == all_of[f"{outer}.weight"][:, units].tolist()
    assert held[f"{norm}.weight"].tolist() == all_of[f"{norm}.weight"].tolist()


@FAMILIES
def test_everything_is_held_at_rate_one_wherever_the_window_begins(family: str) -> None:
    a = architecture(family)
    for shift in range(7):
        assert np.array_equal(Window(a, 1.0, shift, 5 * shift).entries(0), np.arange(layer_layout(a, 0).size))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200))
def test_a_row_is_ascending_and_as_long_as_asked_for(count: int, kept: int, first: int) -> None:
    kept = min(kept, count)
    found = row(count, kept, first).tolist()
    assert found == sorted(set(found))
    assert len(found) == kept
    assert first % count in found
    assert (first + kept - 1) % count in found


@FAMILIES
@pytest.mark.parametrize("rate", [0.25, 1 / 3, 0.5])
def test_rolling_windows_cover_every_entry_equally_often(family: str, rate: float) -> None:
    a = architecture(family)
    size, seen = layer_layout(a, 0).size, np.zeros(layer_layout(a, 0).size, np.int64)
    for shift in range(HEADS * UNITS):
        entries = Window(a, rate, shift, shift).entries(0)
        assert len(np.unique(entries)) == len(entries) == layer_layout(a.narrow(rate), 0).size < size
        seen[entries] += 1
    counts = layer_layout(a, 0).split(seen.astype(np.float32))
    query, mixer, inner, outer, norm = NAMES[family]
    rounds = HEADS * UNITS
    for name, share in (
        (f"{query}.weight", int(rate * HEADS + 1e-9) / HEADS),
        (f"{mixer}.weight", int(rate * HEADS + 1e-9) / HEADS),
        (f"{inner}.bias", int(rate * UNITS + 1e-9) / UNITS),
        (f"{outer}.weight", int(rate * UNITS + 1e-9) / UNITS),
        (f"{norm}.weight", 1.0),
    ):
        assert np.unique(counts[name]).tolist() == [round(share * rounds)], name


def test_nested_windows_are_nested() -> None:
    a = architecture("bert")
    held = [set(Window(a, rate).entries(0).tolist()) for rate in (0.2, 0.5, 0.7, 1.0)]
    assert all(small < large for small, large in pairwise(held))


def test_layers_with_different_numbers_of_heads_have_maps_of_their_own() -> None:
    a = replace(architecture("bert"), kept_heads=((0, 1, 2, 3, 4, 5), (2, 5), (0, 1, 2, 4)))
    for index in range(3):
        entries = Window(a, 0.5).entries(index)
        assert len(entries) == layer_layout(a.narrow(0.5), index).size
        assert entries.max() == layer_layout(a, index).size - 1  # the last norm's


def test_rates_are_rounded_down_and_leave_something() -> None:
    a = Architecture("bert", 40, 120, 2, 12, 100, 12, 0.0)
    assert (a.narrow(0.29).heads_in(1), a.narrow(0.29).feed_forward) == (3, 29)
    assert (a.narrow(0.5).head_size, a.narrow(0.5).attention_width(0)) == (10, 60)
    assert a.narrow(1.0) is a
    with pytest.raises(ValueError, match=r"0\.08 leaves no attention head"):
        a.narrow(0.08)
    with pytest.raises(ValueError, match=r"0\.1 leaves no feed-forward unit"):
        replace(a, feed_forward=8).narrow(0.1)


@FAMILIES
def test_a_pruned_head_takes_its_parameters_along(family: str) -> None:
    a = architecture(family)
    for index, kept in enumerate((1, 3, 5)):
        pruned = replace(a, kept_heads=((2,), (0, 1, 2), (0, 1, 2, 3, 5)))
        gone = HEADS - kept
        less = layer_layout(a, index).size - layer_layout(pruned, index).size
        assert less == gone * (4 * HIDDEN * a.head_size + 3 * a.head_size)


def groups(a: Architecture, head: Head) -> dict[str, FloatArray]:
    found = {name: initialise(layout, rng.stream(9, name)) for name, layout in layouts(a, head).items()}
    # biases other than zero: those of a pruned head's values must go with it
    return {
        name: values + rng.stream(9, name, "more").normal(0, 0.1, values.shape).astype(np.float32)
        for name, values in found.items()
    }


def tensors(values: dict[str, FloatArray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in values.items()}


def batch() -> Batch:
    ids = torch.from_numpy(rng.stream(9, "ids").integers(0, 40, (5, 12)))
    real = torch.ones(5, 12, dtype=torch.bool)
    real[3, 7:] = False
    return Batch(ids, real, None, torch.tensor([0, 1, 2, 0, 1]))


@FAMILIES
def test_logits_without_heads_are_logits_with_their_gates_shut(family: str) -> None:
    a, head = architecture(family), Head("mean", 3)
    values = groups(a, head)
    kept = ((0, 2, 5), (4,), (0, 1, 2, 3, 4, 5))
    whole = LocalModel(LocalShape(a, head, LAYERS))
    whole.load(tensors(values), (0, 1, 2))
    whole.module.eval()
    open_ = whole.logits(batch())
    for heads, module in zip(kept, whole.head_mixers, strict=True):
        gate = torch.zeros(HEADS)
        gate[list(heads)] = 1.0

        def shut(_: nn.Module, inputs: tuple[Tensor], gate: Tensor = gate) -> tuple[Tensor]:
            return (inputs[0] * gate.repeat_interleave(a.head_size),)

        module.register_forward_pre_hook(shut)
    gated = whole.logits(batch())

    pruned = replace(a, kept_heads=kept)
    units = np.arange(UNITS)
    smaller = values | {
        layer(i): values[layer(i)][layer_entries(a, i, np.array(heads), units)] for i, heads in enumerate(kept)
    }
    model = LocalModel(LocalShape(pruned, head, LAYERS))
    model.load(tensors(smaller), (0, 1, 2))
    model.module.eval()
    assert torch.allclose(model.logits(batch()), gated, rtol=0, atol=1e-6)
    assert not torch.allclose(open_, gated, rtol=0, atol=1e-3)


@FAMILIES
def test_a_window_is_read_as_the_global_layers_at_its_entries(family: str) -> None:
    a, head = architecture(family), Head("linear", 3)
    values, window = groups(a, head), Window(a, 0.5, 4, 17)
    model = LocalModel(LocalShape(a.narrow(0.5), head, LAYERS, (0, 1, 2), True, True))
    model.load(tensors(values), (0, 1, 2), window)
    for i in range(LAYERS):
        assert np.array_equal(model.parts[i].flat.numpy(), values[layer(i)][window.entries(i)])
    assert np.array_equal(model.parts["embeddings"].flat.numpy(), values["embeddings"])


@FAMILIES
def test_the_scale_stands_for_what_is_missing_and_only_in_training(family: str) -> None:
    """A wide model whose heads and units are all copies of a narrow one's mixes to the same, as long as it trains."""
    a, head = architecture(family), Head("linear", 3)
    narrow = a.narrow(0.5)
    values = groups(a, head)
    first = Window(a, 0.5)
    second = layer_entries(a, 0, np.arange(3, 6), np.arange(10, 20))
    for i in range(LAYERS):
        values[layer(i)][second] = values[layer(i)][first.entries(i)]
    wide = LocalModel(LocalShape(a, head, LAYERS))
    wide.load(tensors(values), (0, 1, 2))
    scaled = LocalModel(LocalShape(narrow, head, LAYERS, scale=2.0))
    plain = LocalModel(LocalShape(narrow, head, LAYERS))
    for model in (scaled, plain):
        model.load(tensors(values), (0, 1, 2), first)
    for train, same in ((True, True), (False, False)):
        for model in (wide, scaled, plain):
            model.module.train(train)
        found = [model.logits(batch()) for model in (wide, scaled, plain)]
        assert torch.allclose(found[0], found[1], atol=1e-5) == same
        assert torch.equal(found[1], found[2]) != same
