"""Padding to the longest sample of a batch, or to a fixed length: the same batches, and the same loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedsim
from fedsim import rng
from fedsim.data.batches import as_work, measure
from fedsim.data.objective import IGNORED, Examples, Objective
from fedsim.data.tokens import Ragged, Tokens
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import LocalModel
from fedsim.training.tensors import as_batch
from tests import runs
from tests.runs import small

LENGTHS = np.array([5, 9, 14, 3])
WIDTH = 32
SAMPLES = np.arange(4)


def tokens() -> Tokens:
    draw = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    ids = Ragged(draw.integers(4, 60, offsets[-1]).astype(np.int32), offsets)
    tags = Ragged(
        np.where(draw.random(offsets[-1]) < 0.2, IGNORED, draw.integers(0, 3, offsets[-1])).astype(np.int32), offsets
    )
    label = np.array([0, 1, 2, 1], np.int32)
    special = {"pad": 0, "cls": 1, "sep": 2, "mask": 3}
    return Tokens(
        ids=ids,
        test=np.zeros(4, bool),
        client=None,
        clients=(),
        labels={"topic": label},
        label_names={"topic": ("a", "b", "c")},
        tags={"names": tags},
        tag_names={"names": ("O", "B-x", "I-x")},
        targets=None,
        vocabulary=60,
        **special,
        fingerprint="",
    )


OBJECTIVES = {
    "mlm": (Objective("mlm"), Head("mlm")),
    "mlm at all positions": (Objective("mlm", all_positions=True), Head("mlm")),
    "sequence": (Objective("sequence", "topic"), Head("mean", 3)),
    "tokens": (Objective("tokens", "names"), Head("tokens", 3)),
}


def test_the_whole_text_is_predicted_hidden_or_not() -> None:
    wanted = Examples(tokens(), Objective("mlm", all_positions=True, whole=True))
    hidden = Examples(tokens(), Objective("mlm"))
    batch, masked = (examples.batch(SAMPLES, WIDTH, rng.stream(2, "masks")) for examples in (wanted, hidden))
    assert np.array_equal(batch.ids, masked.ids)  # what the encoder sees is the same
    rows = batch.targets.reshape(batch.ids.shape)
    for i, length in enumerate(LENGTHS):
        assert np.array_equal(rows[i, :length], tokens().ids[i])
        assert (rows[i, length:] == IGNORED).all()
    assert masked.positions is not None
    assert np.array_equal(batch.targets[masked.positions], masked.targets)
    assert work_positions(wanted) == batch.ids.size == len(batch.targets)


def test_given_targets_are_part_of_the_whole_text() -> None:
    ids = tokens().ids
    given = Ragged(np.where(np.arange(len(ids.values)) % 5 == 2, 7, IGNORED).astype(np.int32), ids.offsets)
    examples = Examples(replace(tokens(), targets=given), Objective("mlm", all_positions=True, whole=True))
    rows = examples.batch(SAMPLES, WIDTH, rng.stream(2, "masks")).targets.reshape(4, -1)
    for i, length in enumerate(LENGTHS):
        assert np.array_equal(rows[i, :length], np.where(given[i] != IGNORED, given[i], ids[i]))


def work_positions(examples: Examples) -> int:
    return int(as_work(measure(LENGTHS, examples.counts(SAMPLES), [SAMPLES], WIDTH)[None]).positions[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_fixed_padding_gives_the_same_loss_and_more_tokens(name: str) -> None:
    objective, head = OBJECTIVES[name]
    architecture = Architecture("bert", 60, 16, 2, 2, 32, WIDTH, 0.1)
    model = LocalModel(LocalShape(architecture, head, 2))
    groups = {g: initialise(layout, rng.stream(1, g)) for g, layout in layouts(architecture, head).items()}
    model.load({g: torch.from_numpy(values) for g, values in groups.items()}, (0, 1))
    model.module.eval()
    found = []
    for width in (0, WIDTH):
        examples = Examples(tokens(), replace(objective, width=width))
        batch = examples.batch(SAMPLES, WIDTH, rng.stream(2, "masks"))
        work = as_work(measure(LENGTHS, examples.counts(SAMPLES), [SAMPLES], WIDTH, width)[None])
        assert batch.ids.size == work.tokens[0]
        assert work.real_tokens[0] == LENGTHS.sum() == int((batch.ids > 0).sum())
        assert work.positions[0] == len(batch.targets)
        with torch.no_grad():
            found.append((model.loss(as_batch(batch, torch.device("cpu"))).item(), int(work.tokens[0])))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert (found[0][1], found[1][1]) == (4 * 16, 4 * WIDTH)


def test_a_scenario_says_how_far_batches_are_padded(world: Path, tmp_path: Path) -> None:
    methods: dict[str, dict[str, Any]] = {"fedavg": {}, "centralized": {}}
    tables = {}
    for padding in ("longest", "max"):
        raw = small(methods, data__padding=padding)
        runs.run(raw, world, tmp_path / padding, engine=None)
        tables[padding] = fedsim.read_run(tmp_path / padding)
    short, long = tables["longest"].trips, tables["max"].trips
    assert (long.tokens == 24 * long.samples).all()
    assert (short.real_tokens == long.real_tokens).all()
    assert (short.tokens <= long.tokens).all()
    assert (short.tokens < long.tokens).any()
    assert (short.price_flops_forward <= long.price_flops_forward).all()
    for name, run in tables.items():
        for method, summary in run.summary["methods"].items():
            rounds = run.rounds[run.rounds.method == method]
            assert (summary["tokens"], summary["real_tokens"]) == (rounds.tokens.sum(), rounds.real_tokens.sum()), name
