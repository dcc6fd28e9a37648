"""What groups begin a stage with: random numbers, copies, layers that add nothing."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedsim.methods.base import Fill
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.server.fill import filled

HEAD = Head("linear", 3)


def sizes(family: Literal["bert", "distilbert"]) -> Architecture:
    return Architecture(family, 50, 16, 2, 2, 32, 12, 0.0)


def test_random_numbers_depend_on_the_group_and_on_when() -> None:
    layout = layouts(sizes("bert"), HEAD)["layer.1"]
    found = [
        filled(Fill("layer.1", "random"), layout, {}, 3, "finetune", 1),
        filled(Fill("layer.1", "random"), layout, {}, 3, "finetune", 2),
        filled(Fill("layer.0", "random"), layout, {}, 3, "finetune", 1),
        filled(Fill("layer.1", "random"), layout, {}, 4, "finetune", 1),
    ]
    assert len({values.tobytes() for values in found}) == 4
    np.testing.assert_array_equal(found[0], filled(Fill("layer.1", "random"), layout, {}, 3, "finetune", 1))
    matrices, rest = found[0][: layout.decayed], layout.split(found[0])
    assert matrices.std() == pytest.approx(0.02, rel=0.05)
    assert all(
        (view == (1.0 if name.endswith("Norm.weight") else 0.0)).all() for name, view in rest.items() if view.ndim < 2
    )


def test_a_copy_has_the_same_bits_and_a_life_of_its_own() -> None:
    layout = layouts(sizes("bert"), HEAD)["layer.0"]
    groups = {"layer.0": initialise(layout, np.random.default_rng(0))}
    copy = filled(Fill("layer.1", "layer.0"), layout, groups, 3)
    assert copy.tobytes() == groups["layer.0"].tobytes()
    copy[0] = 7.0
    assert groups["layer.0"][0] != 7.0


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_an_identity_layer_adds_nothing_and_normalises_twice(family: Literal["bert", "distilbert"]) -> None:
    architecture = sizes(family)
    found = layouts(architecture, HEAD)
    draw = np.random.default_rng(1)
    groups = {name: initialise(layout, draw) for name, layout in found.items()}
    groups["layer.0"] = filled(Fill("layer.0", "identity"), found["layer.0"], groups, 3, "further_pretrain", 1)
    model = LocalModel(LocalShape(architecture, HEAD, 1))
    model.load({name: torch.from_numpy(values) for name, values in groups.items()}, (0,))
    model.module.eval()
    batch = Batch(torch.arange(20).reshape(2, 10), None, None, torch.tensor([0, 1]))
    with torch.no_grad():
        below: torch.Tensor = model.embeddings(batch.ids)
        once = functional.layer_norm(below, (16,), eps=1e-12)
        torch.testing.assert_close(model.hidden(batch), functional.layer_norm(once, (16,), eps=1e-12))
    # its other matrices are ready to learn
    assert groups["layer.0"].std() > 0.01
