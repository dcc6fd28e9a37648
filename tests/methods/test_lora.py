"""LoRA: factors by `peft`, three ways to average them, exact costs, models that anybody can open."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from fedsim import read_run, rng
from fedsim.cost.flops import flops
from fedsim.cost.memory import activation_bytes
from fedsim.cost.parameters import local_size, trained_size
from fedsim.engine.uplink import products
from fedsim.errors import UserError
from fedsim.methods.lora import LoRA
from fedsim.model.adapters import (
    TARGETS,
    adapter_layouts,
    all_adapter_layouts,
    initial_adapters,
    matrix_sizes,
    merged,
    product_layout,
    refactored,
)
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Adapters
from fedsim.scenario.load import load
from tests import runs

from ..cost.oracles import BERT_BASE, LINEAR, MLM, TINY, TINY_DISTILBERT, positions_of, work
from ..cost.test_memory import at, real_batch, real_model, really_saved
from .states import arrays

SHORT: dict[str, Any] = {"phases__pretrain": None, "phases__further_pretrain": None}
EVERYWHERE = Adapters(3, 6.0, TARGETS)
ADAPTERS = [
    Adapters(2, 4.0, ("query", "value")),
    Adapters(3, 6.0, ("value",), dropout=0.1),
    Adapters(2, 1.0, ("key",), train_a=False),
    EVERYWHERE,
    replace(EVERYWHERE, train_a=False),
    Adapters(2, 4.0, ("feed_forward_out",)),
    Adapters(2, 4.0, ("attention_output", "feed_forward_in")),
]


def shape(architecture: Architecture, head: Head, adapters: Adapters) -> LocalShape:
    return LocalShape(architecture, head, architecture.layers, train_head=True, adapters=adapters, train_adapters=True)


@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT], ids=["bert", "distilbert"])
@pytest.mark.parametrize("head", [LINEAR, MLM], ids=lambda head: head.kind)
@pytest.mark.parametrize("adapters", ADAPTERS, ids=lambda a: f"{'+'.join(a.targets)} {a.train_a}")
def test_flops_are_those_that_torch_counts(architecture: Architecture, head: Head, adapters: Adapters) -> None:
    samples, length = 3, 7
    positions, one = positions_of(head, samples, length, 5), shape(architecture, head, adapters)
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = LocalModel(one)
        index = torch.zeros(positions, dtype=torch.long)
        real = torch.ones(samples, length, dtype=torch.bool)
        batch = Batch(torch.zeros(samples, length, dtype=torch.long), real, index if head is MLM else None, index)
        with FlopCounterMode(display=False) as forward:
            loss = model.loss(batch)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    price, size = flops(one), work(samples, length, positions)
    assert int(price.forward.total(size)[0]) == forward.get_total_flops()
    assert int(price.backward.total(size)[0]) == backward.get_total_flops()


@pytest.mark.parametrize("adapters", ADAPTERS[1:5], ids=lambda a: f"{'+'.join(a.targets)} {a.train_a}")
def test_memory_and_sizes_are_those_of_the_real_model(adapters: Adapters) -> None:
    one = shape(TINY, LINEAR, adapters)
    model = real_model(one)
    assert at(activation_bytes(one), 3, 9, 3) == really_saved(model, real_batch(LINEAR, (3, 9, 3)))
    assert local_size(one).parameters == sum(part.flat.numel() for part in model.parts.values())
    assert trained_size(one).parameters == sum(part.flat.numel() for part in model.trained.values())
    assert set(model.trained) == {"lora.0", "lora.1", "lora.2", "head"}


def test_parameters_of_bert_base() -> None:
    """Rank 8 beside query and value of twelve layers: 2 * 8 * (768 + 768) numbers a layer."""
    layouts = all_adapter_layouts(BERT_BASE, Adapters(8, 16.0, ("query", "value")))
    assert sum(layout.size for layout in layouts.values()) == 12 * 2 * 8 * (768 + 768) == 294_912
    frozen = all_adapter_layouts(BERT_BASE, Adapters(8, 16.0, ("query", "value"), train_a=False))
    assert sum(layout.size for name, layout in frozen.items() if name.startswith("lora.")) == 294_912 // 2


def random_groups(architecture: Architecture, head: Head, adapters: Adapters) -> dict[str, FloatArray]:
    groups = {name: initialise(layout, rng.stream(3, name)) for name, layout in layouts(architecture, head).items()}
    draw = np.random.default_rng(1)
    for name, layout in all_adapter_layouts(architecture, adapters).items():
        groups[name] = draw.normal(0, 0.3, layout.size).astype(np.float32)
    return groups


@pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT], ids=["bert", "distilbert"])
@pytest.mark.parametrize("adapters", [ADAPTERS[0], *ADAPTERS[3:5]], ids=["two", "all", "frozen"])
def test_a_merged_model_gives_the_same_answers(architecture: Architecture, adapters: Adapters) -> None:
    groups = random_groups(architecture, LINEAR, adapters)
    after = merged(architecture, adapters, groups)
    assert set(after) == set(layouts(architecture, LINEAR))
    with_adapters = LocalModel(LocalShape(architecture, LINEAR, 3, adapters=adapters))
    without = LocalModel(LocalShape(architecture, LINEAR, 3))
    batch = Batch(torch.randint(5, 200, (4, 9)), None, None, torch.zeros(4, dtype=torch.long))
    for model, own in ((with_adapters, groups), (without, after)):
        model.load({name: torch.from_numpy(values) for name, values in own.items()}, (0, 1, 2))
        model.module.eval()
    with torch.no_grad():
        found, wanted = with_adapters.logits(batch), without.logits(batch)
    assert torch.allclose(found, wanted, atol=1e-4)
    bare = {**groups, **initial_adapters(architecture, adapters, 0)}
    assert all(np.array_equal(values, groups[name]) for name, values in merged(architecture, adapters, bare).items())


def test_a_starts_as_peft_draws_it_and_b_at_zero() -> None:
    groups = initial_adapters(BERT_BASE, Adapters(4, 8.0, ("query",)), 1)
    (layout,) = adapter_layouts(BERT_BASE, Adapters(4, 8.0, ("query",)), 0).values()
    a, b = layout.split(groups["lora.0"]).values()
    assert (a.shape, b.shape) == ((4, 768), (768, 4))
    assert not b.any()
    assert 0.9 / 768**0.5 < np.abs(a).max() <= 1 / 768**0.5
    assert not np.array_equal(groups["lora.0"], groups["lora.1"])


def test_products_are_factored_exactly_where_the_rank_suffices() -> None:
    """The mean of two products of rank 2 has rank 4."""
    two, four = (Adapters(rank, 4.0, ("query", "feed_forward_in")) for rank in (2, 4))
    (layout,) = adapter_layouts(TINY, two, 1).values()
    draw = np.random.default_rng(0)
    vectors = [draw.normal(size=layout.size).astype(np.float32) for _ in range(2)]
    mean = np.mean([products(layout, torch.from_numpy(v)).numpy() for v in vectors], axis=0)
    (wider,) = adapter_layouts(TINY, four, 1).values()
    found = products(wider, torch.from_numpy(refactored(TINY, four, 1, mean))).numpy()
    assert np.abs(found - mean).max() < 1e-5
    # and otherwise it is the nearest: what is left are the singular values that were cut
    narrow = products(layout, torch.from_numpy(refactored(TINY, two, 1, mean))).numpy()
    for target, matrix in product_layout(TINY, two, 1).split(mean).items():
        left = matrix - product_layout(TINY, two, 1).split(narrow)[target]
        assert np.linalg.norm(left) == pytest.approx(np.linalg.norm(np.linalg.svd(matrix)[1][2:]), rel=1e-4)
        a, b = (wider.split(refactored(TINY, four, 1, mean))[name] for name in list(dict(wider.tensors))[:3:2])
        assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=1e-4)


METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "mean": {"kind": "lora", "rank": 2},
    "svd": {"kind": "lora", "rank": 2, "aggregation": "product_svd"},
    "frozen": {"kind": "lora", "rank": 2, "aggregation": "freeze_a"},
}


@pytest.fixture(scope="module")
def out(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "run"
    raw = runs.small(METHODS, **SHORT, outputs__save_models=True)
    raw["phases"]["finetune"]["participation"] = {"clients_per_round": 2}
    runs.run(raw, world, folder)
    return folder


def test_only_factors_and_head_change_and_are_sent(out: Path) -> None:
    run = read_run(out)
    groups = arrays(out, "mean", "group")
    factors = [f"lora.{i}" for i in range(4)]
    changed = run.rounds.astype({"method": str}).set_index("method").trained_groups
    assert set(changed["mean"].iloc[0].split()) == {"head", *factors}
    start = arrays(out, "svd", "group")
    assert all(np.array_equal(groups[name], start[name]) for name in ("embeddings", "layer.0", "layer.3"))
    trips = run.trips.astype({"method": str})
    for method in ("mean", "svd"):
        own = sum(groups[name].nbytes for name in ("head", *factors))
        assert (trips.upload_bytes[trips.method == method] == own).all()
    frozen = arrays(out, "frozen", "group")
    assert set(frozen) == set(groups) | {f"lora_a.{i}" for i in range(4)}
    own = sum(frozen[name].nbytes for name in ("head", *factors))
    assert (trips.upload_bytes[trips.method == "frozen"] == own).all()
    # B alone has moved away from zero, and A is what was drawn
    initial = initial_adapters(_architecture(frozen), Adapters(2, 16.0, ("query", "value"), train_a=False), 3)
    assert all(np.array_equal(frozen[f"lora_a.{i}"], initial[f"lora_a.{i}"]) for i in range(4))
    assert all(frozen[name].any() for name in factors)


def _architecture(groups: dict[str, FloatArray]) -> Architecture:
    vocabulary = (groups["embeddings"].size - 2 * 16) // 16 - 24 - 2
    return replace(TINY, vocabulary=vocabulary, hidden=16, layers=4, heads=2, feed_forward=32, max_positions=24)


def test_the_frozen_model_is_downloaded_once(out: Path) -> None:
    trips = read_run(out).trips.astype({"method": str})
    groups = arrays(out, "mean", "group")
    whole, moving = sum(v.nbytes for v in groups.values()), sum(groups[n].nbytes for n in groups if "lora" in n)
    moving += groups["head"].nbytes
    seen: set[int] = set()
    for client, size in zip(*(trips[trips.method == "mean"][c] for c in ("client", "download_bytes")), strict=True):
        assert size == (moving if client in seen else whole)
        seen.add(client)


def test_the_product_of_one_client_is_what_it_has_sent(world: Path, tmp_path: Path) -> None:
    methods = {name: METHODS[name] for name in ("mean", "svd")}
    raw = runs.small(methods, **SHORT, phases__evaluate=None, phases__finetune__rounds=1)
    raw["phases"]["finetune"]["participation"] = {"clients_per_round": 1}
    runs.run(raw, world, tmp_path / "run")
    mean, svd = (arrays(tmp_path / "run", name, "group") for name in methods)
    adapters = Adapters(2, 16.0, ("query", "value"))
    wanted, found = (merged(_architecture(mean), adapters, groups) for groups in (mean, svd))
    assert all(np.abs(values - found[name]).max() < 1e-7 for name, values in wanted.items())
    assert not np.allclose(mean["lora.0"], svd["lora.0"], atol=1e-3)


def test_the_mean_of_products_is_not_the_product_of_means(out: Path) -> None:
    architecture, adapters = _architecture(arrays(out, "mean", "group")), Adapters(2, 16.0, ("query", "value"))
    mean, svd = (merged(architecture, adapters, arrays(out, name, "group")) for name in ("mean", "svd"))
    assert max(np.abs(values - svd[name]).max() for name, values in mean.items()) > 1e-6


def test_the_saved_model_opens_without_peft_and_answers_as_the_global_one(out: Path) -> None:
    saved = AutoModelForSequenceClassification.from_pretrained(out / "models" / "mean").eval()
    assert not any("lora" in name for name, _ in saved.named_parameters())
    groups = {name: torch.from_numpy(values) for name, values in arrays(out, "mean", "group").items()}
    architecture = _architecture(arrays(out, "mean", "group"))
    adapters = Adapters(2, 16.0, ("query", "value"))
    model = LocalModel(LocalShape(architecture, Head("pooler", 3), 4, adapters=adapters))
    model.load(groups, (0, 1, 2, 3))
    model.module.eval()
    ids = torch.randint(5, 60, (4, 8))
    with torch.no_grad():
        own = model.logits(Batch(ids, None, None, torch.zeros(4, dtype=torch.long)))
        assert torch.allclose(saved(input_ids=ids).logits, own, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("rank: 0", "methods.lora.rank: must be at least 1, given 0"),
        ("targets: [query, query]", "methods.lora.targets: lists a matrix twice"),
        ("targets: []", "methods.lora.targets: needs at least 1 entry"),
        ("aggregation: product_svd, what: delta", "methods.lora.what: must be weights"),
        ("aggregation: product_svd, server: {kind: fedadam}", "methods.lora.server.kind: must be average"),
    ],
)
def test_nonsense_is_refused(options: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        f"name: x\nfleet: {{clients: 5}}\nmethods: {{lora: {{{options}}}}}\n"
        "phases: {finetune: {rounds: 1, participation: {clients_per_round: 2}}}\n"
    )
    with pytest.raises(UserError, match=message):
        load(file)


def test_a_rank_that_no_matrix_can_have_is_refused(world: Path, tmp_path: Path) -> None:
    raw = runs.small({"lora": {"rank": 17}}, **SHORT)
    with pytest.raises(UserError, match=r"methods\.lora\.rank: is 17, more than the 16 that a matrix"):
        runs.run(raw, world, tmp_path / "run", None)
    assert not list(LoRA(rank=24).size_problems(TINY))
    assert [p.key for p in LoRA(rank=25).size_problems(TINY)] == [("rank",)]
    assert matrix_sizes(TINY, 0)["feed_forward_in"] == (40, 24)
