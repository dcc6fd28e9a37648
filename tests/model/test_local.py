"""A local model against the models of `transformers`: same logits, loss, gradients and files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from fedsim import rng
from fedsim.errors import UserError
from fedsim.model import pretrained
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import Batch, LocalModel

AUTO = {
    "mlm": AutoModelForMaskedLM,
    "pooler": AutoModelForSequenceClassification,
    "tokens": AutoModelForTokenClassification,
    "linear": AutoModelForTokenClassification,
    "mean": AutoModelForTokenClassification,
}


def architecture(family: str) -> Architecture:
    return Architecture(family, 100, 16, 4, 2, 32, 24, 0.0)  # type: ignore[arg-type]


def head(kind: str) -> Head:
    return Head(kind, 0 if kind == "mlm" else 5)  # type: ignore[arg-type]


def groups(a: Architecture, h: Head) -> dict[str, FloatArray]:
    made = {name: initialise(layout, rng.stream(3, name)) for name, layout in layouts(a, h).items()}
    return {name: values + np.float32(0.01) for name, values in made.items()}


def tensors(values: dict[str, FloatArray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in values.items()}


def batch(h: Head, positions: bool) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (4, 16), generator=generator)
    real = torch.ones(4, 16, dtype=torch.bool)
    real[1, 10:] = False
    ids[1, 10:] = 0
    if h.per_sample:
        return Batch(ids, real, None, torch.tensor([0, 1, 2, 3]))
    targets = torch.randint(0, 5, (64,), generator=generator)
    targets[torch.arange(64) % 5 != 0] = -100
    targets[26:32] = -100
    if positions:
        chosen = torch.nonzero(targets >= 0)[:, 0]
        return Batch(ids, real, chosen, targets[chosen])
    return Batch(ids, real, None, targets)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("kind", ["mlm", "pooler", "linear", "mean", "tokens"])
def test_equals_transformers_and_its_files(family: str, kind: str, tmp_path: Path) -> None:
    a, h = architecture(family), head(kind)
    values = groups(a, h)
    pretrained.write(tmp_path, a, h, values)
    reference, info = AUTO[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert pretrained.read_architecture(tmp_path, "model") == a
    again = pretrained.read_groups(tmp_path, a, h, "model")
    assert all(np.array_equal(values[name], again[name]) for name in values)

    model = LocalModel(LocalShape(a, h, 4, (0, 1, 2, 3), True, True))
    model.load(tensors(values), (0, 1, 2, 3))
    model.module.eval()
    reference.eval()
    b = batch(h, positions=False)
    assert b.real is not None
    wanted = reference(input_ids=b.ids, attention_mask=b.real.long()).logits
    if kind == "mean":
        wanted = torch.stack([row[real].mean(0) for row, real in zip(wanted, b.real, strict=True)])
    else:
        wanted = wanted[:, 0] if kind == "linear" else wanted.reshape(-1, wanted.shape[-1])
    shown = torch.ones(4, dtype=torch.bool) if h.per_sample else b.real.flatten()
    # a linear layer of a mean is the mean of a linear layer, but for rounding
    assert torch.allclose(model.logits(b)[shown], wanted[shown], rtol=0, atol=1e-6 if kind == "mean" else 0)

    loss = torch.nn.functional.cross_entropy(wanted, b.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    model.loss(b).backward()  # type: ignore[no-untyped-call]
    assert model.loss(b).item() == pytest.approx(loss.item(), abs=2e-6)
    names = {full for g in layouts(a, h) for full in pretrained._full_names(a, h, g, layouts(a, h)[g]).values()}
    ours = torch.cat([part.grad for part in model.parts.values() if part.grad is not None])
    theirs = torch.cat([p.grad.flatten() for n, p in reference.named_parameters() if n in names and p.grad is not None])
    assert ours.square().sum().item() == pytest.approx(theirs.square().sum().item(), rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_logits_at_masked_positions_give_the_same_loss_and_gradients(family: str) -> None:
    a, h = architecture(family), head("mlm")
    model = LocalModel(LocalShape(a, h, 4, (0, 1, 2, 3), True, True))
    model.load(tensors(groups(a, h)), (0, 1, 2, 3))
    found = []
    for positions in (False, True):
        model.zero_grad()
        loss = model.loss(batch(h, positions))
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.item(), torch.cat([part.grad.clone() for part in model.trained.values()])))  # type: ignore[union-attr]
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-7)


def test_slots_choose_and_average_global_layers() -> None:
    a, h = architecture("bert"), head("linear")
    values = tensors(groups(a, h))
    model = LocalModel(LocalShape(a, h, 3, (0,), False, True))
    model.load(values, (1, 3, (2, 3)))
    assert torch.equal(model.parts[0].flat, values["layer.1"])
    assert torch.equal(model.parts[1].flat, values["layer.3"])
    assert torch.equal(model.parts[2].flat, (values["layer.2"] + values["layer.3"]) / 2)


def test_only_trained_parts_have_gradients_and_the_tied_decoder_stays_frozen() -> None:
    a, h = architecture("bert"), head("mlm")
    model = LocalModel(LocalShape(a, h, 3, (1,), False, True))
    model.load(tensors(groups(a, h)), (0, 1, 3))
    model.loss(batch(h, positions=True)).backward()  # type: ignore[no-untyped-call]
    assert list(model.trained) == [1, "head"]
    assert all(part.grad is not None and bool(part.grad.any()) for part in model.trained.values())
    assert all(p.grad is None for p in model.embeddings.parameters())


def test_a_checkpoint_with_another_head_gives_everything_but_the_head(tmp_path: Path) -> None:
    a = architecture("bert")
    pretrained.write(tmp_path, a, head("mlm"), groups(a, head("mlm")))
    assert "head" not in pretrained.read_groups(tmp_path, a, head("pooler"), "model")


def test_damaged_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    a, h = architecture("bert"), head("mlm")
    pretrained.write(tmp_path, a, h, groups(a, h))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors.*cannot be read"):
        pretrained.read_groups(tmp_path, a, h, "model.checkpoint")
    weights.unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        pretrained.read_groups(tmp_path, a, h, "model.checkpoint")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="'gpt2' is not supported"):
        pretrained.read_architecture(tmp_path, "model.checkpoint")
    with pytest.raises(UserError, match="no checkpoint at"):
        pretrained.find("./nowhere", tmp_path, "model.checkpoint")
