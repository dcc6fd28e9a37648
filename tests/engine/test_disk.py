"""What a client finds on its disk: its optimizer's state, also for layers that were copied since."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsim.data.objective import Objective
from fedsim.engine.disk import Disk
from fedsim.engine.tasks import ClientWork, TrainBlock, WorldFiles
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import full
from fedsim.scenario.phases import Local, Optimizer
from fedsim.store.client_state import ClientStore
from fedsim.training.recipe import Recipe
from fedsim.training.update import Update, train
from fedsim.wire import Wire

MLM = Head("mlm")


def bert(layers: int) -> Architecture:
    return Architecture("bert", 50, 8, layers, 2, 16, 12, 0.0)


def trained(layers: int, state: dict[str, torch.Tensor] | None = None) -> tuple[LocalModel, Update]:
    """One step with AdamW on a model of so many layers, all of them the same."""
    shape = LocalShape.of(bert(layers), MLM, full(layers))
    model = LocalModel(shape)
    draw = np.random.default_rng(0)
    sizes = layouts(bert(1), MLM)
    one = {name: torch.from_numpy(initialise(layout, draw)) for name, layout in sizes.items()}
    groups = {f"layer.{i}": one["layer.0"] for i in range(layers)}
    model.load(one | groups, tuple(range(layers)))
    ids = torch.arange(24).reshape(2, 12)
    batch = Batch(ids, None, torch.tensor([3, 15]), torch.tensor([7, 9]))
    optimizer = Optimizer(weight_decay=0.01)
    return model, train(model, [batch], optimizer, learning_rate=1e-3, state=state)


def block(folder: Path, round_: int, state_first: int) -> TrainBlock:
    shape = LocalShape.of(bert(2), MLM, full(2))
    return TrainBlock(
        index=0,
        cost=1.0,
        shape=shape,
        prefix="m/",
        groups={},
        world=WorldFiles(folder, folder, 0),
        objective=Objective("mlm"),
        method="m",
        phase="further_pretrain",
        stage=0,
        state_first=state_first,
        round=round_,
        phase_round=round_,
        clients=(),
        local=Local(),
        step=None,
        learning_rate=1e-3,
        recipe=Recipe(),
        wire=Wire(),
        plan=0,
        window=None,
        resumed=(),
        measured=False,
        split=None,
        private=(),
        keep_optimizer=True,
        state_folder=folder,
    )


@pytest.fixture
def left(tmp_path: Path) -> ClientStore:
    """A client trained one layer in round 3, and left its optimizer's state."""
    store = ClientStore(tmp_path)
    model, update = trained(1)
    work = ClientWork(client=5, shards=(5,), slots=(0,), shares={})
    Disk.open(store, block(tmp_path, 3, 3), work).write(model, update)
    return store


def found(store: ClientStore, folder: Path, state_first: int, copied: dict[int, int]) -> dict[str, torch.Tensor]:
    work = ClientWork(client=5, shards=(5,), slots=(0, 1), shares={}, state_round=3, copied=copied)
    return Disk.open(store, block(folder, 6, state_first), work).optimizer


def test_a_state_of_an_earlier_stage_counts_where_it_goes_on(left: ClientStore, tmp_path: Path) -> None:
    assert found(left, tmp_path, 4, {1: 0}) == {}
    names = set(found(left, tmp_path, 3, {}))
    assert {name.partition(".")[0] for name in names} == {"embeddings", "0", "head"}
    assert {name.rpartition(".")[2] for name in names} == {"exp_avg", "exp_avg_sq", "step"}


def test_a_copied_layer_takes_the_state_of_its_source(left: ClientStore, tmp_path: Path) -> None:
    state = found(left, tmp_path, 3, {1: 0})
    own = {name: values for name, values in state.items() if name.startswith("1.")}
    assert len(own) == 6
    for name, values in own.items():
        torch.testing.assert_close(values, state[f"0{name[1:]}"], rtol=0, atol=0)
    model, update = trained(2, state)
    # the state was taken up: both layers are in their second step, and had the same moments before it
    assert {float(v) for n, v in update.optimizer_state.items() if n.endswith("step")} == {2.0}
    _, anew = trained(2)
    assert {float(v) for n, v in anew.optimizer_state.items() if n.endswith("step")} == {1.0}
    assert model.parts[1].grad is not None


def test_a_layer_without_a_state_starts_anew_beside_those_that_go_on(left: ClientStore, tmp_path: Path) -> None:
    _, update = trained(2, found(left, tmp_path, 3, {}))
    steps = {n.partition(".")[0]: float(v) for n, v in update.optimizer_state.items() if n.endswith("step")}
    assert steps == {"embeddings": 2.0, "0": 2.0, "1": 1.0, "head": 2.0}


def test_a_state_of_another_plan_does_not_count(left: ClientStore, tmp_path: Path) -> None:
    work = ClientWork(client=5, shards=(5,), slots=(0, 1), shares={}, state_round=3)
    other = replace(block(tmp_path, 6, 3), plan=1)
    assert Disk.open(left, other, work).optimizer == {}
