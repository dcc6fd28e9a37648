"""What a teacher adds to a client's costs, against PyTorch's counters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedsim.cost.flops import flops, layers_only_units
from fedsim.cost.memory import activation_bytes, peak_bytes
from fedsim.cost.parameters import local_size, trained_size
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.distillation import Distillation, layer_map
from fedsim.model.local import Batch, LocalModel
from fedsim.scenario.phases import Optimizer
from fedsim.training.distillation import Taught
from tests.cost.oracles import (
    BERT_BASE,
    DISTILBERT,
    LINEAR,
    MLM,
    POOLER,
    TAGS,
    TINY,
    TINY_DISTILBERT,
    TINYBERT_4,
    Reference,
    batch,
    plan,
    positions_of,
    reference,
    work,
)

TEACHER = replace(TINY, hidden=30, layers=6, feed_forward=50)
Terms = dict[str, Any]
DISTIL: Terms = {"hard_labels": 2.0, "soft_labels": 5.0, "cosine": 1.0}
LAYERS: Terms = {"attention": "scores_mse", "hidden": 1.0, "embeddings": 1.0}
STATES: Terms = {"hidden": 1.0}
SOFT: Terms = {"soft_labels": 1.0}
EVERYTHING: Terms = DISTIL | LAYERS | {"cosine": 0.0, "attention": "probs_kl"}


def student(
    architecture: Architecture, teacher: Architecture, head: Head, terms: Terms, kind: Any = "uniform"
) -> LocalShape:
    depth = architecture.layers
    distillation = Distillation(teacher, layer_map(kind, depth, teacher.layers), (1.0,) * depth, **terms)
    return LocalShape(
        architecture, head, depth, tuple(range(depth)), True, distillation.logits, distillation=distillation
    )


CASES = [
    (TINY_DISTILBERT, replace(TEACHER, hidden=24), MLM, DISTIL),
    (TINY, TEACHER, MLM, LAYERS),
    (TINY, TEACHER, LINEAR, LAYERS),
    (TINY, TEACHER, MLM, STATES),
    (TINY_DISTILBERT, TEACHER, POOLER, SOFT),
    (TINY, TEACHER, TAGS, EVERYTHING),
]
NAMES = ["distilbert", "tinybert", "tinybert task", "states", "soft", "everything"]


def counted(shape: LocalShape, size: tuple[int, int, int]) -> tuple[int, int]:
    """Eager models of `transformers`, one more product for every score matrix compared, and the projections."""
    d = shape.distillation
    assert d is not None
    depth = shape.architecture.layers
    ids, positions, targets = batch(*size, "meta")
    with torch.device("meta"):
        own = reference(shape.architecture, shape.head, depth, "eager")
        its = reference(d.teacher, shape.head, d.teacher.layers, "eager")
        projection = nn.Linear(shape.architecture.hidden, d.teacher.hidden)
    own.train_only(plan(depth, tuple(range(depth)), embeddings=True, head=d.logits))
    its.modules.requires_grad_(False)
    with FlopCounterMode(display=False) as forward:
        parts = _looked_at(own, ids, positions, d.logits, d.transfers_attention)
        other = _looked_at(its, ids, positions, d.teacher_logits, d.transfers_attention)
        loss = sum((scores.sum() for scores in parts["scores"]), torch.zeros((), device="meta"))
        loss = loss + sum(scores.sum() for i, scores in enumerate(other["scores"]) if i + 1 in d.layer_map)
        compared = ([parts["states"][0]] if d.embeddings else []) + (parts["states"][1:] if d.hidden else [])
        loss = loss + sum(projection(states).sum() for states in compared)
        if d.cosine:
            loss = loss + parts["states"][-1].sum()
        if d.logits:
            loss = loss + nn.functional.cross_entropy(parts["logits"][0], targets)
    unused = len(other["scores"]) - len(d.layer_map) if d.transfers_attention else 0
    samples, length, _ = size
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # the reference multiplies in every layer of the teacher, we in those that are compared
    extra = unused * 2 * samples * length * length * d.teacher.hidden
    return forward.get_total_flops() - extra, backward.get_total_flops()


def _looked_at(
    model: Reference, ids: Tensor, positions: Tensor, logits: bool, attention: bool
) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {"states": [], "scores": [], "logits": [], "inner": []}

    def keep(name: str) -> Any:
        return lambda module, given, out: found[name].append(out[0] if isinstance(out, tuple) else out)

    for module in (model.embeddings, *model.layers):
        module.register_forward_hook(keep("states"))
    for module in model.layers:
        for name, inner in module.named_modules():
            if attention and name.rpartition(".")[2] in ("query", "key", "q_lin", "k_lin"):
                inner.register_forward_hook(keep("inner"))
    if logits:
        found["logits"].append(model.logits(ids, None, positions))
    else:
        model.encoder(ids)
    heads = 3
    for query, key in zip(found["inner"][::2], found["inner"][1::2], strict=True):
        query, key = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key))
        found["scores"].append(query @ key.transpose(2, 3))
    return found


def predicted(shape: LocalShape, size: tuple[int, int, int]) -> tuple[int, int]:
    one, price = work(*size), flops(shape)
    return int(price.forward.total(one)[0]), int(price.backward.total(one)[0])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_flops_equal_those_of_eager_models(case: tuple[Architecture, Architecture, Head, Terms]) -> None:
    shape = student(*case)
    for samples, length in ((1, 7), (3, 16)):
        size = samples, length, positions_of(case[2], samples, length, 5)
        assert predicted(shape, size) == counted(shape, size)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_flops_and_memory_equal_those_of_what_clients_run(
    case: tuple[Architecture, Architecture, Head, Terms],
) -> None:
    shape = student(*case)
    size = (3, 7, positions_of(case[2], 3, 7, 5))
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        taught, given = build(shape), real_batch(case[2], size)
        with FlopCounterMode(display=False) as forward:
            loss = taught.loss(given)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    assert predicted(shape, size) == (forward.get_total_flops(), backward.get_total_flops())
    saved = int(activation_bytes(shape).at(np.array([size]))[0])
    assert saved == really_saved(build(shape), real_batch(case[2], size))


def build(shape: LocalShape) -> Taught:
    assert shape.teacher is not None
    made = Taught(LocalModel(shape), LocalModel(shape.teacher))
    for part in (*made.student.parts.values(), *made.teacher.parts.values()):
        part.flat.fill_(0.01)
    return made


def real_batch(head: Head, size: tuple[int, int, int]) -> Batch:
    samples, length, positions = size
    real = torch.ones(samples, length, dtype=torch.bool)
    real[0, -1] = False
    index = torch.zeros(positions, dtype=torch.long) if head.kind == "mlm" else None
    return Batch(torch.ones(samples, length, dtype=torch.long), real, index, torch.zeros(positions, dtype=torch.long))


def really_saved(taught: Taught, given: Batch) -> int:
    """Bytes of distinct memory that a real forward pass keeps for backward, weights left out."""
    models = (taught.student, taught.teacher)
    own = {t.untyped_storage().data_ptr() for m in models for t in (*m.module.parameters(), *m.module.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        taught.loss(given).backward()  # type: ignore[no-untyped-call]
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_closed_forms_at_the_published_sizes() -> None:
    h, f, vocabulary, tokens, pairs = 768, 3072, 30522, 8 * 128, 8 * 128 * 128
    layer = tokens * (8 * h * h + 4 * h * f) + pairs * 4 * h
    head = 2 * h * h + 2 * h * vocabulary
    distil = student(DISTILBERT, BERT_BASE, MLM, DISTIL)
    assert predicted(distil, (8, 128, tokens)) == (18 * layer + 2 * tokens * head, 2 * (6 * layer + tokens * head))
    small, wide = 312, 1200
    own = tokens * (8 * small * small + 4 * small * wide) + pairs * 4 * small
    compared = 4 * pairs * 2 * small + 5 * tokens * 2 * small * h
    tiny = student(TINYBERT_4, BERT_BASE, MLM, LAYERS)
    forward = 4 * own + 12 * layer + compared + 4 * pairs * 2 * h
    assert predicted(tiny, (8, 128, 0)) == (forward, 2 * (4 * own + compared))
    assert layers_only_units(tiny) == 4 * 3 + 12
    bottom = student(TINYBERT_4, BERT_BASE, MLM, LAYERS, "bottom")
    assert predicted(tiny, (8, 128, 0))[0] - predicted(bottom, (8, 128, 0))[0] == 8 * layer


@pytest.mark.slow
def test_a_teacher_needs_room_and_the_projection_is_trained() -> None:
    shape = student(TINYBERT_4, BERT_BASE, MLM, LAYERS)
    alone = replace(shape, distillation=None)
    projection = 312 * 768 + 768
    assert trained_size(shape).parameters == trained_size(alone).parameters + projection
    assert local_size(shape).parameters - local_size(alone).parameters == 109_514_298 + projection
    adamw = int(peak_bytes(shape, Optimizer(), np.zeros((1, 3), np.int64))[0])
    activations = activation_bytes(shape)
    assert adamw == local_size(shape).bytes + 3 * trained_size(shape).bytes + activations.constant
    # TinyBERT's terms keep differences of scores, and states: no logits of the vocabulary
    assert activations.position == 0
