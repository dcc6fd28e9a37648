"""Encoder-decoders, whole and in part, against the models of `transformers`: same logits, gradients and files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BartForConditionalGeneration, BartForSequenceClassification, BartModel

from fedsim import rng
from fedsim.model import pretrained
from fedsim.model.architecture import Architecture, Decoder, Head, LocalShape
from fedsim.model.bart import original, shifted
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Layers, Plan, full, layer

END = 3
BART = Architecture("bart", 100, 16, 5, 2, 32, 24, 0.0, decoder=Decoder(2, END, 0))
MLM, POOLER = Head("mlm"), Head("pooler", 5)
KINDS = [MLM, POOLER, Head("linear", 5), Head("mean", 5), Head("tokens", 5)]


def groups(head: Head) -> dict[str, FloatArray]:
    made = {name: initialise(layout, rng.stream(3, name)) for name, layout in layouts(BART, head).items()}
    return {name: values + np.float32(0.01) for name, values in made.items()}


def built(head: Head, slots: tuple[int, ...] = (0, 1, 2, 3, 4)) -> LocalModel:
    """Everything trained, and loaded with the layers of these slots."""
    plan = full(len(slots))
    model = LocalModel(LocalShape.of(BART, head, replace(plan, layers=Layers(slots))))
    model.load({name: torch.from_numpy(values) for name, values in groups(head).items()}, slots)
    model.module.eval()
    return model


def batch(head: Head) -> Batch:
    """Four samples, of which the second is shorter."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (4, 16), generator=generator)
    real = torch.ones(4, 16, dtype=torch.bool)
    real[1, 10:] = False
    ids[:, -1] = ids[1, 9] = END
    ids[1, 10:] = 0
    if head.per_sample:
        return Batch(ids, real, None, torch.tensor([0, 1, 2, 3]))
    targets = torch.randint(0, head.classes or 100, (64,), generator=generator)
    targets[torch.arange(64) % 3 != 0] = -100
    targets[26:32] = -100
    return Batch(ids, real, None, targets)


@pytest.mark.parametrize("slots", [(0, 1, 2, 3, 4), (0, 4), (0, 2, 3)], ids=str)
@pytest.mark.parametrize("head", KINDS, ids=lambda head: head.kind)
def test_equals_transformers_and_its_files(head: Head, slots: tuple[int, ...], tmp_path: Path) -> None:
    local = BART.local(slots)
    values = groups(head)
    values |= {layer(place): values[layer(slot)] for place, slot in enumerate(slots)}
    values = {name: values[name] for name in layouts(local, head)}
    pretrained.write(tmp_path, local, head, values)
    assert pretrained.read_architecture(tmp_path, "model") == local
    again = pretrained.read_groups(tmp_path, local, head, "model")
    assert all(np.array_equal(values[name], again[name]) for name in layouts(local, head))

    kinds: dict[str, Any] = {"mlm": BartForConditionalGeneration, "pooler": BartForSequenceClassification}
    reference, info = kinds.get(head.kind, BartModel).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    classifier = {"classifier.weight", "classifier.bias"}
    assert set(info["unexpected_keys"]) == (set() if head.kind in kinds else classifier)
    reference.eval()
    b = batch(head)
    assert b.real is not None
    seen, shown = {"input_ids": b.ids, "attention_mask": b.real.long(), "use_cache": False}, b.real.flatten()
    if head.kind == "mlm":
        wanted = reference(**seen, labels=original(b.ids, None, b.targets)).logits.flatten(0, 1)
    elif head.kind == "pooler":
        wanted, shown = reference(**seen).logits, torch.ones(4, dtype=torch.bool)
    else:
        states = reference(**seen).last_hidden_state
        stored = load_file(tmp_path / "model.safetensors")
        wanted = states @ stored["classifier.weight"].T + stored["classifier.bias"]
        if head.kind == "tokens":
            wanted = wanted.flatten(0, 1)
        else:
            last = b.real.sum(1) - 1
            means = torch.stack([row[real].mean(0) for row, real in zip(wanted, b.real, strict=True)])
            wanted, shown = (means if head.kind == "mean" else wanted[range(4), last]), torch.ones(4, dtype=torch.bool)
    model = built(head, slots)
    torch.testing.assert_close(model.logits(b)[shown], wanted[shown], rtol=0, atol=1e-6)

    torch.nn.functional.cross_entropy(wanted, b.targets).backward()  # type: ignore[no-untyped-call]
    model.loss(b).backward()  # type: ignore[no-untyped-call]
    ours = [part.grad for name, part in model.parts.items() if name != "head" and part.grad is not None]
    named = [(n, p.grad) for n, p in reference.named_parameters() if p.grad is not None]
    theirs = [grad for name, grad in named if not name.startswith("classification_head")]
    squares = [sum(float(grad.square().sum()) for grad in grads) for grads in (ours, theirs)]
    assert squares[0] == pytest.approx(squares[1], rel=1e-5)
    assert squares[0] > 0


def test_checkpoints_that_transformers_saves_can_be_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pretrained.write(tmp_path / "ours", BART, MLM, groups(MLM))
    reference = BartForConditionalGeneration.from_pretrained(tmp_path / "ours")
    reference.save_pretrained(tmp_path / "whole")
    reference.model.save_pretrained(tmp_path / "body")
    for name, there in (("whole", True), ("body", False)):
        assert pretrained.read_architecture(tmp_path / name, "model") == BART
        found = pretrained.read_groups(tmp_path / name, BART, MLM, "model")
        assert ("head" in found) == there
        assert all(np.array_equal(values, groups(MLM)[group]) for group, values in found.items())


def test_logits_at_masked_positions_give_the_same_loss_and_gradients() -> None:
    everywhere = batch(MLM)
    chosen = torch.nonzero(everywhere.targets >= 0)[:, 0]
    found = []
    for b in (everywhere, replace(everywhere, positions=chosen, targets=everywhere.targets[chosen])):
        model = built(MLM)
        loss = model.loss(b)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.item(), torch.cat([part.grad for part in model.trained.values() if part.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=1e-7)


def test_a_decoder_knows_what_stands_before_a_token_and_not_the_token() -> None:
    b, model = batch(MLM), built(MLM)
    with torch.no_grad():
        before = model.logits(b).view(4, 16, -1)
        changed = b.targets.clone()
        changed[0] = (changed[0] + 1) % 100  # the first token of the first sample, which the encoder does not see
        after = model.logits(replace(b, targets=changed)).view(4, 16, -1)
    assert torch.equal(after[0, 0], before[0, 0])
    assert not torch.isclose(after[0, 1:], before[0, 1:]).all(-1).any()
    assert torch.equal(after[1:], before[1:])


def test_padding_changes_nothing() -> None:
    for head in KINDS[1:4]:
        b, model = batch(head), built(head)
        alone = Batch(b.ids[1:2, :10], None, None, b.targets[1:2])
        torch.testing.assert_close(model.logits(b)[1:2], model.logits(alone), rtol=0, atol=1e-6)


def test_the_original_text_comes_back_from_targets() -> None:
    ids, positions = torch.tensor([[5, 1, 7], [1, 9, 1]]), torch.tensor([1, 3, 5])
    assert original(ids, positions, torch.tensor([6, 8, -100])).tolist() == [[5, 6, 7], [8, 9, 1]]
    assert original(ids, None, torch.tensor([-100, 6, -100, 8, -100, 2])).tolist() == [[5, 6, 7], [8, 9, 2]]
    assert ids.tolist() == [[5, 1, 7], [1, 9, 1]]
    assert shifted(ids, 3).tolist() == [[3, 5, 1], [3, 1, 9]]


def test_a_local_model_has_layers_of_both_sides_in_their_order() -> None:
    assert BART.local((0, 1, 4)) == replace(BART, layers=3, decoder=Decoder(1, END, 0))
    for slots in ((0, 1, 2), (3, 4), (3, 0), (0, 3, 1), (0, (1, 3), 4)):
        with pytest.raises(ValueError, match="must be layers of an encoder, and then of its decoder"):
            BART.local(slots)
    shape = LocalShape.of(BART, MLM, Plan(Layers((0, 2, 4)), (2,), train_embeddings=False, train_head=True))
    assert list(LocalModel(shape).trained) == [2, "head"]


def test_other_slots_of_the_same_numbers_have_the_same_shape() -> None:
    shapes = {LocalShape.of(BART, MLM, replace(full(2), layers=Layers(slots))) for slots in ((0, 3), (2, 4), (1, 3))}
    assert len(shapes) == 1
