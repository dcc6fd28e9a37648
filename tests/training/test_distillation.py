"""Distillation losses against the models of `transformers` with eager attention, and loops over single tokens."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.bert.modeling_bert import eager_attention_forward

from fedsim import rng
from fedsim.model import pretrained
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.distillation import Distillation, layer_map
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import PROJECTION
from fedsim.training.distillation import Taught, probabilities_kl

TEACHER = Architecture("bert", 90, 24, 4, 2, 40, 20, 0.0)
WIDE = replace(TEACHER, family="distilbert", layers=2)
NARROW = Architecture("bert", 90, 12, 2, 2, 20, 20, 0.0)
MLM, CLASSES = Head("mlm"), Head("pooler", 5)

Terms = dict[str, Any]
DISTILBERT: Terms = {"hard_labels": 2.0, "soft_labels": 5.0, "temperature": 2.0, "cosine": 1.0}
TINYBERT: Terms = {"attention": "scores_mse", "hidden": 1.0, "embeddings": 1.0}


def groups(a: Architecture, head: Head, seed: int) -> dict[str, FloatArray]:
    """Weights of a trained model's size: with those of a fresh one all attention is nearly even."""
    made = {name: initialise(layout, rng.stream(seed, name)) for name, layout in layouts(a, head).items()}
    return {name: values * np.float32(5.0) + np.float32(0.02) for name, values in made.items()}


def tensors(values: Mapping[str, FloatArray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in values.items()}


def taught(
    student: Architecture, teacher: Architecture, head: Head = MLM, *, same: bool = False, **terms: Any
) -> Taught:
    """A student and its teacher, from seeds 1 and 2; `same`: with the same weights and W = I."""
    g = layer_map("uniform", student.layers, teacher.layers)
    distillation = Distillation(teacher, g, (1.0,) * student.layers, **terms)
    shape = LocalShape(
        student, head, student.layers, tuple(range(student.layers)), True, True, distillation=distillation
    )
    made, its = LocalModel(shape), LocalModel(LocalShape(teacher, head, teacher.layers))
    values = tensors(groups(student, head, 2 if same else 1))
    if distillation.projection:
        weight = torch.eye(student.hidden) if same else torch.linspace(-1, 1, student.hidden * teacher.hidden)
        values[PROJECTION] = torch.cat([weight.flatten(), torch.zeros(teacher.hidden)])
    made.load(values, tuple(range(student.layers)))
    its.load(tensors(groups(teacher, head, 2)), tuple(range(teacher.layers)))
    made.module.eval()
    return Taught(made, its)


def batch(head: Head = MLM, *, attended: bool = True, width: int = 12) -> Batch:
    """Three samples of 12, 7 and 9 tokens; every third token is predicted."""
    ids, lengths = torch.zeros(3, width, dtype=torch.long), torch.tensor([12, 7, 9])
    real = torch.arange(width) < lengths[:, None]
    ids[real] = torch.randint(5, 90, (28,), generator=torch.Generator().manual_seed(0))
    if head.per_sample:
        return Batch(ids, real, None, torch.tensor([0, 3, 4]))
    places = torch.nonzero(real.flatten())[:, 0]
    chosen = torch.arange(28) % 3 == 0
    if attended:
        return Batch(ids, real, places, torch.where(chosen, ids.flatten()[places], -100))
    return Batch(ids, real, places[chosen], ids.flatten()[places[chosen]])


def values(student: Taught, given: Batch) -> dict[str, float]:
    return {name: term.item() for name, (_, term) in student.terms(given).items()}


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    distil = values(taught(TEACHER, TEACHER, same=True, **DISTILBERT), batch())
    assert distil.pop("hard_labels") > 1.0
    assert distil == {"soft_labels": pytest.approx(0.0, abs=1e-6), "cosine": pytest.approx(0.0, abs=1e-6)}
    tiny = values(taught(TEACHER, TEACHER, same=True, **TINYBERT), batch())
    assert tiny == {
        name: pytest.approx(0.0, abs=1e-10)
        for name in ("embeddings", *(f"{kind}.{place}" for kind in ("attention", "hidden") for place in range(4)))
    }
    kl = values(taught(TEACHER, TEACHER, same=True, attention="probs_kl", hidden=1.0), batch())
    assert all(value == pytest.approx(0.0, abs=1e-6) for value in kl.values())


class Reference:
    """A model of `transformers` with eager attention whose raw scores are caught on the way."""

    def __init__(self, folder: Path, a: Architecture, head: Head, seed: int, kind: Any) -> None:
        pretrained.write(folder, a, head, groups(a, head, seed))
        self.model = kind.from_pretrained(folder, attn_implementation="caught")
        self.model.eval()

    def __call__(self, given: Batch) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Logits, states and masked scores."""
        CAUGHT.clear()
        assert given.real is not None
        found = self.model(input_ids=given.ids, attention_mask=given.real.long(), output_hidden_states=True)
        return getattr(found, "logits", None), list(found.hidden_states), list(CAUGHT)


CAUGHT: list[Tensor] = []


def _caught(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
    scores = torch.matmul(query, key.transpose(2, 3)) * query.size(-1) ** -0.5
    CAUGHT.append(scores if mask is None else scores + mask)
    return eager_attention_forward(module, query, key, value, mask, **options)


AttentionInterface.register("caught", _caught)
AttentionMaskInterface.register("caught", eager_mask)


@pytest.mark.parametrize("masked_only", [False, True])
def test_distilbert_loss_equals_a_loop_over_tokens(masked_only: bool, tmp_path: Path) -> None:
    ours = taught(WIDE, TEACHER, **DISTILBERT, masked_only=masked_only)
    given = batch(attended=not masked_only)
    student = Reference(tmp_path / "student", WIDE, MLM, 1, AutoModelForMaskedLM)
    teacher = Reference(tmp_path / "teacher", TEACHER, MLM, 2, AutoModelForMaskedLM)
    (s, s_states, _), (t, t_states, _) = student(given), teacher(given)
    assert s is not None
    assert t is not None
    assert given.real is not None
    soft, hard, cos = [], [], []
    wanted = dict(zip(given.positions.tolist(), given.targets.tolist(), strict=True))  # type: ignore[union-attr]
    for place in torch.nonzero(given.real.flatten())[:, 0].tolist():
        own, its = s.flatten(0, 1)[place], t.flatten(0, 1)[place]
        target = wanted.get(place, -100)
        if target >= 0 or not masked_only:
            p, q = functional.softmax(its / 2.0, -1), functional.softmax(own / 2.0, -1)
            soft.append(4.0 * (p * (p / q).log()).sum())
        if target >= 0:
            hard.append(-functional.softmax(own, -1)[target].log())
        x, y = s_states[-1].flatten(0, 1)[place], t_states[-1].flatten(0, 1)[place]
        cos.append(1 - (x @ y) / (x.norm() * y.norm()))
    means = [torch.stack(part).mean() for part in (soft, hard, cos)]
    loss = 5.0 * means[0] + 2.0 * means[1] + means[2]
    found = ours.loss(given)
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    found.backward()  # type: ignore[no-untyped-call]
    norms = [p.grad.square().sum() for p in student.model.parameters() if p.grad is not None]
    own_norms = [part.grad.square().sum() for part in ours.student.parts.values() if part.grad is not None]
    assert torch.stack(own_norms).sum().item() == pytest.approx(torch.stack(norms).sum().item(), rel=1e-4)
    assert all(part.grad is None for part in ours.teacher.parts.values())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_tinybert_layer_losses_equal_a_loop_over_heads_and_tokens(family: Any, tmp_path: Path) -> None:
    narrow = replace(NARROW, family=family)
    ours, given = taught(narrow, TEACHER, **TINYBERT), batch()
    student = Reference(tmp_path / "student", narrow, MLM, 1, AutoModelForMaskedLM)
    teacher = Reference(tmp_path / "teacher", TEACHER, MLM, 2, AutoModelForMaskedLM)
    (_, s_states, s_scores), (_, t_states, t_scores) = student(given), teacher(given)
    assert given.real is not None
    weight = ours.student.parts[PROJECTION].flat[: 24 * 12].view(24, 12)
    wanted = {}
    for place, target in enumerate((2, 4)):
        distances = []
        for sample, head in np.ndindex(3, 2):
            n = int(given.real[sample].sum())
            own, its = s_scores[place][sample, head, :n, :n], t_scores[target - 1][sample, head, :n, :n]
            distances.append((own - its).square().flatten())
        wanted[f"attention.{place}"] = torch.cat(distances).mean().item()
    for name, own_layer, target in (("embeddings", 0, 0), ("hidden.0", 1, 2), ("hidden.1", 2, 4)):
        own, its = s_states[own_layer][given.real], t_states[target][given.real]
        wanted[name] = (own @ weight.T - its).square().mean().item()
    assert values(ours, given) == {name: pytest.approx(value, rel=1e-5) for name, value in wanted.items()}
    assert ours.loss(given).item() == pytest.approx(sum(wanted.values()), rel=1e-5)


def test_attention_distributions_equal_those_of_eager_attention(tmp_path: Path) -> None:
    ours, given = taught(NARROW, TEACHER, attention="probs_kl", hidden=1.0), batch()
    student = Reference(tmp_path / "student", NARROW, MLM, 1, AutoModelForMaskedLM)
    teacher = Reference(tmp_path / "teacher", TEACHER, MLM, 2, AutoModelForMaskedLM)
    s, t = student(given)[2], teacher(given)[2]
    assert given.real is not None
    for place, target in enumerate((2, 4)):
        kl = []
        for sample, head in np.ndindex(3, 2):
            n = int(given.real[sample].sum())
            # the masked scores of eager attention: finfo.min leaves padding without a share
            p, q = (
                functional.log_softmax(scores[sample, head, :n].double(), -1) for scores in (t[target - 1], s[place])
            )
            assert not p[:, n:].exp().any()
            kl.append((p[:, :n].exp() * (p - q)[:, :n]).sum(-1))
        found = values(ours, given)[f"attention.{place}"]
        assert found == pytest.approx(torch.cat(kl).mean().item(), rel=1e-4)


def test_soft_labels_of_a_classifier(tmp_path: Path) -> None:
    """TinyBERT's code: -(softmax(teacher / t) * log_softmax(student / t)), summed over classes."""
    ours = taught(NARROW, TEACHER, CLASSES, soft_labels=1.0, soft_loss="cross_entropy", temperature=1.5)
    given = batch(CLASSES)
    s, t = (
        Reference(tmp_path / str(seed), a, CLASSES, seed, AutoModelForSequenceClassification)(given)[0]
        for a, seed in ((NARROW, 1), (TEACHER, 2))
    )
    assert s is not None
    assert t is not None
    wanted = functional.cross_entropy(s / 1.5, functional.softmax(t / 1.5, -1))
    assert ours.loss(given).item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("terms", [DISTILBERT, TINYBERT, {**TINYBERT, "attention": "probs_kl"}])
def test_losses_do_not_depend_on_padding(terms: Terms) -> None:
    student = TEACHER if "cosine" in terms else NARROW
    ours = taught(replace(student, layers=2), TEACHER, **terms)
    short, long = batch(), batch(width=20)
    # positions are those of flattened rows
    assert short.positions is not None
    moved = short.positions // 12 * 20 + short.positions % 12
    wide = replace(long, positions=moved, targets=short.targets)
    assert torch.equal(long.ids.flatten()[moved], short.ids.flatten()[short.positions])
    assert values(ours, short) == {n: pytest.approx(v, rel=1e-5, abs=1e-6) for n, v in values(ours, wide).items()}


def test_only_what_is_compared_is_computed() -> None:
    ours = taught(NARROW, TEACHER, **TINYBERT)
    ours.loss(batch()).backward()  # type: ignore[no-untyped-call]
    assert not ours.student.parts["head"].grad.any()  # type: ignore[union-attr]
    assert all(part.grad.any() for n, part in ours.student.trained.items() if n != "head")  # type: ignore[union-attr]
    bottom = replace(ours.distillation, layer_map=layer_map("bottom", 2, 4))
    assert (ours.distillation.teacher_depth, bottom.teacher_depth) == (4, 2)
    assert Distillation(TEACHER, cosine=1.0).teacher_depth == 4


def test_layer_maps() -> None:
    assert layer_map("uniform", 4, 12) == (3, 6, 9, 12)
    assert layer_map("uniform", 6, 12) == (2, 4, 6, 8, 10, 12)
    assert layer_map("top", 4, 12) == (9, 10, 11, 12)
    assert layer_map("bottom", 4, 12) == (1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"divisor of the teacher's 12 layers, the student has 5"):
        layer_map("uniform", 5, 12)
    with pytest.raises(ValueError, match="the student has 4 layers, its teacher only 3"):
        layer_map("top", 4, 3)


def test_padded_keys_have_no_share() -> None:
    scores = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    real = torch.tensor([[True, True, False]])
    other = scores.clone()
    other[..., 2] += 50.0
    other[:, :, 2] -= 7.0
    assert probabilities_kl(scores, other, real).item() == 0.0
