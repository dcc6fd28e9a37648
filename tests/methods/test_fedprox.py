"""FedProx: the proximal term, and partial work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim import read_run
from fedsim.cost.parameters import trained_size
from fedsim.methods.fedprox import FedProx
from fedsim.model.architecture import LocalShape
from fedsim.model.local import LocalModel
from fedsim.scenario.load import load
from fedsim.scenario.phases import Optimizer
from fedsim.training.recipe import Recipe
from fedsim.training.update import train
from tests import runs

from ..test_fedavg_is_fedavg import TINY
from ..training.test_update import SGD, A, H, batches, groups, local

MU = 0.7
SHORT: dict[str, Any] = {"phases__pretrain": None, "phases__finetune": None, "phases__evaluate": None}


def test_without_a_proximal_term_it_is_fedavg_to_the_last_bit(world: Path, tmp_path: Path) -> None:
    raw = runs.small({"fedavg": {}, "fedprox": {"mu": 0.0}, "pulled": {"kind": "fedprox", "mu": 0.5}}, **SHORT)
    found = runs.hashes(runs.run(raw, world, tmp_path / "run"))
    assert found["fedprox"][0] == found["fedavg"][0] != found["pulled"][0]


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("trained", [((0, 1), True, True), ((1,), False, True)], ids=["all", "layer 1 and head"])
def test_the_gradient_is_that_of_the_penalty(trained: tuple[tuple[int, ...], bool, bool], clip: float | None) -> None:
    """Against automatic differentiation of the loss and the penalty together; frozen parts have no part in it."""
    shape = LocalShape(A, H, 2, *trained)
    found, wanted = local(shape), local(shape)
    train(found, batches(3), SGD, learning_rate=0.1, clip_norm=clip, recipe=Recipe(proximal=MU))
    parameters = [p for p in wanted.module.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for batch in batches(3):
        wanted.zero_grad()
        penalty = sum(((p - p0) ** 2).sum() for p, p0 in zip(parameters, start, strict=True))
        (wanted.loss(batch) + MU / 2 * penalty).backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
    plain = local(shape)
    train(plain, batches(3), SGD, learning_rate=0.1, clip_norm=clip)
    for name, part in found.parts.items():
        assert torch.allclose(part.flat, wanted.parts[name].flat, atol=2e-7)
        assert torch.equal(part.flat, plain.parts[name].flat) == (name not in found.trained)


def test_the_pull_keeps_clients_nearer_to_the_global_model() -> None:
    def distance(mu: float) -> float:
        model = local()
        train(model, batches(), SGD, learning_rate=0.1, recipe=Recipe(proximal=mu))
        moved = [part.flat - torch.from_numpy(groups()[_group(name)]) for name, part in model.parts.items()]
        return float(torch.cat(moved).norm())

    assert distance(5.0) < distance(0.5) < distance(0.0)


def _group(name: str | int) -> str:
    return f"layer.{name}" if isinstance(name, int) else name


def test_the_reported_loss_is_that_of_the_data() -> None:
    frozen = Optimizer(kind="sgd", learning_rate=1e-30)
    losses = [train(local(), batches(), frozen, learning_rate=1e-30, recipe=Recipe(proximal=mu)).loss for mu in (0, 9)]
    assert losses[0] == losses[1]


def test_the_weights_received_are_kept_in_memory(tmp_path: Path) -> None:
    raw = runs.small({"fedavg": {}, "fedprox": {}, "fedavg-again": {"kind": "fedprox", "mu": 0.0}}, **SHORT)
    runs.write_texts(tmp_path)
    runs.run(raw, tmp_path, tmp_path / "run", None)
    run = read_run(tmp_path / "run")
    memory = run.trips.astype({"method": str}).groupby("method")["memory_bytes"].max()
    stage = run.stages.astype({"method": str}).set_index("method")
    held = 4 * int(stage.parameters_trained["fedprox"])
    assert memory["fedprox"] - memory["fedavg"] == held == stage.memory_bytes["fedprox"] - stage.memory_bytes["fedavg"]
    assert memory["fedavg-again"] == memory["fedavg"]
    assert trained_size(LocalShape(A, H, 2, (0, 1), True, True)).bytes == 4 * sum(map(len, groups().values()))
    assert LocalModel(LocalShape(A, H, 2)).trained == {}


def slow(folder: Path, deadline_s: float, **methods: dict[str, Any]) -> dict[str, Any]:
    """Equal clients on equal slow devices, each with three batches of 3, 3 and 1 samples."""
    raw = TINY.write(folder)
    devices = {"kind": "catalog", "devices": {"pi_zero_2w": 1.0}, "networks": {"wifi": 1.0}}
    raw["fleet"]["source"] = devices | {"speed_sigma": 0.0, "bandwidth_sigma": 0.0}
    raw["phases"]["further_pretrain"]["participation"]["deadline_s"] = deadline_s
    raw["phases"]["evaluate"] = None
    raw["model"]["last_layer"] = "all"  # otherwise time follows how many tokens are hidden, too
    return raw | {"methods": methods}


@pytest.mark.slow
def test_partial_work_is_the_first_batches_to_the_last_bit(tmp_path: Path) -> None:
    """Where everybody has time for two of three batches, it is FedAvg with two batches."""
    unlimited = slow(tmp_path, 1e9, fedavg={})
    runs.run(unlimited, tmp_path, tmp_path / "unlimited", None)
    trips = read_run(tmp_path / "unlimited").trips
    network = float((trips.download_s + trips.upload_s).max())
    compute = float(trips.compute_s.max())
    # samples per batch are 3, 3 and 1, all of one length: two batches take 6/7 of the time
    deadline = network + 6.5 / 7 * compute
    both = {"drop": {"kind": "fedprox", "mu": 0.0}, "partial": {"kind": "fedprox", "mu": 0.0, "late": "partial"}}
    raw = slow(tmp_path, deadline, **both)
    short = slow(tmp_path, 1e9, short={"kind": "fedavg"})
    short["phases"]["further_pretrain"]["local"]["max_batches"] = 2
    found = runs.run(raw, tmp_path, tmp_path / "run")["methods"]
    wanted = runs.run(short, tmp_path, tmp_path / "short")["methods"]["short"]
    assert found["partial"]["weights_sha256"] == wanted["weights_sha256"]
    assert found["partial"]["flops_forward"] == wanted["flops_forward"]
    trips = read_run(tmp_path / "run").trips.astype({"method": str, "outcome": str})
    cut, dropped = trips[trips.method == "partial"], trips[trips.method == "drop"]
    # a client that tries again has the model already: with nobody in time it has not changed
    assert (dropped.outcome[dropped["round"] == 0] == "late").all()
    assert (cut.outcome == "completed").all()
    assert (cut.end_s - cut.start_s <= deadline).all()
    assert (cut.batches.unique().tolist(), cut.samples.unique().tolist()) == ([2], [6])
    assert (cut.planned_batches.unique().tolist(), dropped.batches.unique().tolist()) == ([3], [3])
    assert (cut.flops_forward == cut.price_flops_forward).all()
    # what a device must be able to hold is its largest batch, whether or not it gets there
    assert cut.memory_bytes.tolist() == dropped.memory_bytes.tolist()


def test_a_partial_update_weighs_as_much_as_its_samples(world: Path, tmp_path: Path) -> None:
    devices = {"kind": "catalog", "devices": {"pi_zero_2w": 1.0}, "networks": {"wifi": 1.0}, "bandwidth_sigma": 0.0}
    raw = runs.small({"fedavg": {}}, **SHORT, fleet__source=devices)
    part = raw["phases"]["further_pretrain"]["participation"]
    raw["phases"]["further_pretrain"]["local"]["batch_samples"] = 2
    part["over_selection"] = 1.0
    runs.run(raw, world, tmp_path / "waiting", None)
    waiting = read_run(tmp_path / "waiting").trips
    part |= {"deadline_s": float((waiting.end_s - waiting.start_s).median()), "late": "partial"}
    runs.run(raw, world, tmp_path / "run", None)
    trips = read_run(tmp_path / "run").trips.astype({"outcome": str})
    arrived = trips[trips.outcome == "completed"]
    assert (arrived.batches < arrived.planned_batches).any()
    assert (arrived.batches == arrived.planned_batches).any()
    # one epoch over the shard: the samples of the batches are all samples once
    sums = arrived.groupby("round").samples.transform("sum")
    assert np.allclose(arrived.weight, arrived.samples / sums, rtol=1e-12)
    assert (trips.end_s - trips.start_s).max() <= part["deadline_s"]


def test_somebody_must_be_late(tmp_path: Path) -> None:
    for change, message in [
        ("phases.finetune.participation.late=partial", "phases.finetune.participation.late: is partial, but without"),
        ("methods.fedprox.late=partial", "methods.fedprox.late: has no effect: no phase has"),
    ]:
        file = tmp_path / "scenario.yaml"
        file.write_text(
            "name: x\nfleet: {clients: 5}\nmethods: {fedprox: }\n"
            "phases: {finetune: {rounds: 1, participation: {clients_per_round: 2}}}\n"
        )
        with pytest.raises(Exception, match=message):
            load(file, [change])
    assert FedProx().when_late("drop") == "drop"
    assert FedProx(late="drop").when_late("partial") == "drop"
