"""DepthFL: plans, heads and what they learn from each other, exact costs, whole runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedsim import read_run
from fedsim.cost.flops import flops
from fedsim.cost.memory import activation_bytes
from fedsim.cost.parameters import local_size, trained_size
from fedsim.methods.depthfl import DepthFL
from fedsim.model.architecture import Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.model.mutual import mutual_divergence
from fedsim.plan import HEAD
from fedsim.scenario.load import load
from tests import runs

from ..cost.oracles import BERT_BASE, LINEAR, MLM, TAGS, TINY, positions_of, work
from ..cost.test_memory import at, real_batch, real_model, really_saved
from .states import arrays

SHORT: dict[str, Any] = {"phases__pretrain": None, "phases__evaluate": None}


def plans(layers: int = 12, **options: Any) -> list[tuple[int, tuple[str, ...], float]]:
    method = DepthFL.model_validate(options)
    (stage,) = method.stages("finetune", 3, replace(BERT_BASE, layers=layers), Head("linear", 2))
    return [(plan.layers.depth, plan.heads, plan.mutual) for plan in stage.plans]


def test_plans_are_the_lowest_layers_with_a_head_at_each_depth() -> None:
    assert plans() == [
        (3, ("head.3",), 0.0),
        (6, ("head.3", "head.6"), 1.0),
        (9, ("head.3", "head.6", "head.9"), 1.0),
        (12, ("head.3", "head.6", "head.9", "head"), 1.0),
    ]
    assert plans(depths=[2, 12], heads="own") == [(2, ("head.2",), 0.0), (12, ("head",), 0.0)]
    assert plans(depths=[4, 12], distillation=0.3)[1] == (12, ("head.4", "head"), 0.3)
    assert [depth for depth, _, _ in plans(layers=3)] == [1, 2, 3]
    assert plans(layers=1) == [(1, (HEAD,), 0.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("depths: [3, 2]", "methods.depthfl.depths: must rise"),
        ("depths: [1, 3]", "methods.depthfl.depths: must end with the 4 layers of the global model; ends with 3"),
        ("heads: own, distillation: 0.5", "methods.depthfl.distillation: goes with heads: all"),
        ("depths: [2, 4], assignment: {by: shares, shares: [1, 1, 1]}", "methods.depthfl.assignment.shares: lists 3"),
    ],
)
def test_nonsense_is_refused(options: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        f"name: x\nmodel: {{layers: 4}}\nfleet: {{clients: 5}}\nmethods: {{depthfl: {{{options}}}}}\n"
        "phases: {finetune: {rounds: 1, participation: {clients_per_round: 2}}}\n"
    )
    with pytest.raises(Exception, match=message):
        load(file)


def test_heads_learn_from_each_other_as_the_formula_says() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(5, 4, generator=generator, requires_grad=True) for _ in range(3)]
    targets = torch.tensor([0, 3, -100, 1, 2])
    found = mutual_divergence(logits, targets)
    found.backward()  # type: ignore[no-untyped-call]
    real, gradients = targets >= 0, []
    total = 0.0
    for i, own in enumerate(logits):
        again = own.detach().clone().requires_grad_()
        others = [functional.softmax(other.detach(), -1) for j, other in enumerate(logits) if j != i]
        apart = [(p * (p.log() - functional.log_softmax(again, -1))).sum(-1)[real].mean() for p in others]
        mean = torch.stack(apart).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        total += mean.item()
        gradients.append(again.grad)
    assert found.item() == pytest.approx(total, rel=1e-5)
    for own, wanted in zip(logits, gradients, strict=True):
        assert own.grad is not None
        assert wanted is not None
        # the gradient of one head alone: what it teaches is taken as given
        assert torch.allclose(own.grad, wanted, atol=1e-6)
    same = [logits[0].detach()] * 3
    assert mutual_divergence(same, targets).item() == 0.0


SHAPES = [
    LocalShape(TINY, LINEAR, 3, (0, 1, 2), True, True, exits=(1, 2), mutual=1.0),
    LocalShape(TINY, TAGS, 3, (0, 1, 2), True, True, exits=(2,)),
    LocalShape(TINY, MLM, 3, (0, 1, 2), True, True, exits=(1,), mutual=0.5),
    LocalShape(TINY, MLM, 2, (0, 1), True, True, top="head.2", exits=(1,), mutual=0.5),
    LocalShape(TINY, MLM, 3, (1,), False, True, exits=(1, 2)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.head.kind} {shape.depth} {shape.exits}")
def test_flops_are_those_that_torch_counts(shape: LocalShape) -> None:
    samples, length = 3, 7
    positions = positions_of(shape.head, samples, length, 5)
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = LocalModel(shape)
        index = torch.zeros(positions, dtype=torch.long)
        real = torch.ones(samples, length, dtype=torch.bool)
        batch = Batch(torch.zeros(samples, length, dtype=torch.long), real, index if shape.head is MLM else None, index)
        with FlopCounterMode(display=False) as forward:
            loss = model.loss(batch)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    price, one = flops(shape), work(samples, length, positions)
    assert int(price.forward.total(one)[0]) == forward.get_total_flops()
    assert int(price.backward.total(one)[0]) == backward.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.head.kind} {shape.depth} {shape.exits}")
def test_memory_is_what_real_training_keeps(shape: LocalShape) -> None:
    model = real_model(shape)
    size = (3, 9, positions_of(shape.head, 3, 9, 4))
    assert at(activation_bytes(shape), *size) == really_saved(model, real_batch(shape.head, size))
    assert local_size(shape).parameters == sum(part.flat.numel() for part in model.parts.values())
    assert trained_size(shape).parameters == sum(part.flat.numel() for part in model.trained.values())


def test_full_depth_for_everybody_is_fedavg_to_the_last_bit(world: Path, tmp_path: Path) -> None:
    methods = {"fedavg": {}, "depthfl": {"depths": [4]}}
    summary = runs.run(runs.small(methods, phases__pretrain=None), world, tmp_path / "run")["methods"]
    for name in ("weights_sha256", "quality", "upload_bytes", "download_bytes", "flops_backward", "simulated_seconds"):
        assert summary["depthfl"][name] == summary["fedavg"][name]


@pytest.fixture(scope="module")
def out(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depthfl") / "run"
    shares = {"by": "shares", "shares": [1.0, 1.0, 1.0]}
    methods = {
        "all": {"kind": "depthfl", "depths": [1, 2, 4], "assignment": shares},
        "own": {"kind": "depthfl", "depths": [1, 2, 4], "heads": "own", "assignment": shares},
    }
    raw = runs.small(methods, phases__pretrain=None, phases__further_pretrain__rounds=1)
    for phase in ("further_pretrain", "finetune"):
        raw["phases"][phase]["participation"] = {"clients_per_round": 6}
    runs.run(raw, world, folder)
    return folder


def test_groups_are_averaged_over_those_who_sent_them(out: Path) -> None:
    run = read_run(out)
    trips = run.trips.astype({"method": str, "outcome": str})
    assert (trips.outcome == "completed").all()
    assert set(trips.plan) == {0, 1, 2}
    changed = run.rounds.astype({"method": str}).set_index(["method", "round"]).trained_groups
    assert changed["all", 0].split() == sorted(
        ["embeddings", "layer.0", "layer.1", "layer.2", "layer.3", "head", "head.1", "head.2"]
    )
    groups = arrays(out, "all", "group")
    assert set(groups) == set(changed["all", 0].split())
    assert not np.array_equal(groups["head.1"], groups["head.2"])
    stages = run.stages.astype({"method": str})
    sent = stages[(stages.method == "all") & (stages.stage == 0)].sort_values(["phase", "plan"])
    own = stages[(stages.method == "own") & (stages.stage == 0)].sort_values(["phase", "plan"])
    head = {phase: rows.parameters_sent.tolist() for phase, rows in sent.groupby("phase", observed=True)}
    bare = {phase: rows.parameters_sent.tolist() for phase, rows in own.groupby("phase", observed=True)}
    for phase, size in (("finetune", groups["head"].size),):
        assert [a - b for a, b in zip(head[phase], bare[phase], strict=True)] == [0, size, 2 * size]


def test_every_depth_is_tested(out: Path) -> None:
    evals = read_run(out).evals.astype({"method": str, "metric": str, "phase": str})
    last = evals[(evals.method == "all") & (evals.phase == "finetune")]
    last = last[last["round"] == last["round"].max()].set_index("metric").value
    for depth in ("depth_1", "depth_2", "depth_4", "ensemble"):
        assert 0.0 <= last[f"{depth}/accuracy"] <= 1.0
        assert np.isfinite(last[f"{depth}/loss"])
    assert last["accuracy"] == last["depth_4/accuracy"]
    assert last["loss"] == last["depth_4/loss"] != last["depth_1/loss"]


def test_each_depth_is_tested_with_its_own_layers_and_head(out: Path) -> None:
    """What a run says of a depth is what a model of that depth alone gives."""
    from fedsim.model.layout import layouts

    groups = {name: torch.from_numpy(values) for name, values in arrays(out, "all", "group").items()}
    vocabulary = (groups["embeddings"].numel() - 2 * 16) // 16 - 24 - 2
    architecture = replace(TINY, vocabulary=vocabulary, hidden=16, layers=4, heads=2, feed_forward=32, max_positions=24)
    head = Head("pooler", 3)
    assert {n: layout.size for n, layout in layouts(architecture, head, (1, 2)).items()} == {
        n: values.numel() for n, values in groups.items()
    }
    whole = LocalModel(LocalShape(architecture, head, 4, exits=(1, 2)))
    whole.load(groups, (0, 1, 2, 3))
    whole.module.eval()
    batch = Batch(torch.randint(5, 40, (6, 8)), None, None, torch.zeros(6, dtype=torch.long))
    with torch.no_grad():
        together = whole.exit_logits(batch)
        for own, depth, top in zip(together, (1, 2, 4), ("head.1", "head.2", "head"), strict=True):
            alone = LocalModel(LocalShape(architecture, head, depth, top=top))
            alone.load(groups, tuple(range(depth)))
            alone.module.eval()
            assert torch.allclose(own, alone.logits(batch), atol=1e-6)


def test_devices_train_what_they_can_hold(world: Path, tmp_path: Path) -> None:
    devices = "device,network,flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,"
    devices += "compute_power_w,radio_power_w\n"
    raw = runs.small({"depthfl": {"depths": [1, 4]}, "fedavg": {}}, **SHORT)
    runs.run(raw, world, tmp_path / "price", None)
    stages = read_run(tmp_path / "price").stages.astype({"method": str, "phase": str})
    memory = stages.query("method == 'depthfl' and phase == 'further_pretrain'").memory_bytes.tolist()
    between = sum(memory) // 2
    rows = [f"d,n,1e9,{between if client % 2 else 10 * between},1e7,1e7,0.01,1,1" for client in range(runs.CLIENTS)]
    (world / "fleet.csv").write_text(devices + "\n".join(rows) + "\n")
    raw["fleet"]["source"] = {"kind": "file", "path": "fleet.csv"}
    raw["phases"]["finetune"] = None
    runs.run(raw, world, tmp_path / "run", None)
    trips = read_run(tmp_path / "run").trips.astype({"method": str, "outcome": str})
    own = trips[trips.method == "depthfl"]
    assert own.plan.tolist() == [int(client % 2 == 0) for client in own.client]
    assert "out_of_memory" not in set(own.outcome)
    assert "out_of_memory" in set(trips[trips.method == "fedavg"].outcome)
