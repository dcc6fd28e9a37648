"""Models that grow, from start to end and with kills in between."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForMaskedLM

import fedsim
from fedsim import Run, simulation
from fedsim.account import Account
from fedsim.cost.memory import Polynomial
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import Result, Task, TrainBlock
from fedsim.model.architecture import Architecture, Head
from fedsim.model.layout import FloatArray, layouts
from fedsim.model.local import LocalModel
from fedsim.observe.observer import Silent
from fedsim.phases import prepare
from fedsim.store import load_latest
from fedsim.wire import PLAIN, Codec
from fedsim.world import build
from tests import runs
from tests.runs import Killed, Wrapped, hashes, pretend_memory, small
from tests.test_conservation import counted, payload

SIZES = {"hidden": 16, "heads": 2, "feed_forward": 32, "max_positions": 24}
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"weighting": "uniform"},
    "one": {"kind": "progfed", "further_pretrain": {"stages": 1}, "finetune": {"stages": 1}},
    "grown": {
        "kind": "progfed",
        "further_pretrain": {"boundaries": [2, 4], "stage_rounds": [2, 3], "warmup_rounds": 1, "new_blocks": "random"},
        "finetune": {"stages": 2, "new_blocks": "stack"},
        "optimizer_state": "keep",
    },
    "below": {"kind": "fedavg", "weighting": "uniform", "optimizer_state": "keep", "model": {**SIZES, "layers": 2}},
    "stacking": {"optimizer_state": "keep", "client_optimizer": "keep"},
    "restarted": {"kind": "stacking", "optimizer_state": "keep"},
    "freezing": {"further_pretrain": {"embeddings_round": 1, "layer_rounds": [1, 3]}, "optimizer_state": "keep"},
}
"""`below` is the first stage of `grown` as a model of its own."""
GROUPS = ("embeddings", *(f"layer.{i}" for i in range(4)), "head")
Groups = dict[str, FloatArray]


def scenario(methods: Mapping[str, Mapping[str, Any]] = METHODS, **changes: Any) -> dict[str, Any]:
    """Five rounds of further pre-training on what begins as random numbers, then three of fine-tuning."""
    return small(
        methods,
        **{
            "data__central_fraction": 0.0,
            "phases__pretrain": None,
            "phases__further_pretrain__rounds": 5,
            "phases__further_pretrain__evaluate_every_rounds": 1,
            "phases__finetune__rounds": 3,
        }
        | changes,
    )


class Spy(Wrapped):
    """Notes the groups that the clients of every round start from, and the blocks that they are trained in."""

    def __init__(self, seen: dict[tuple[str, int], Groups], blocks: list[TrainBlock] | None = None) -> None:
        super().__init__(InlineEngine())
        self._published: Groups = {}
        self._seen, self._blocks = seen, [] if blocks is None else blocks

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self._published[name] = values
        self.inner.publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for task in tasks:
            if isinstance(task, TrainBlock):
                own = {n.removeprefix(task.prefix): v for n, v in self._published.items() if n.startswith(task.prefix)}
                self._seen[task.method, task.round] = own
                self._blocks.append(task)
        yield from self.inner.run(tasks, label)


@dataclass
class Ended:
    summary: dict[str, Any]
    run: Run
    begun: dict[tuple[str, int], Groups] = field(default_factory=dict)
    """What each round of each method starts from."""
    blocks: list[TrainBlock] = field(default_factory=list)

    def frame(self, table: str, method: str, rounds: int | None = None) -> pd.DataFrame:
        """A method's rows of a table, up to so many rounds."""
        whole: pd.DataFrame = getattr(self.run, table)
        own = whole[(whole["method"] == method)].drop(columns=["method"])
        key = "first_round" if table == "stages" else "round"
        return (own if rounds is None else own[own[key] < rounds]).reset_index(drop=True)

    def changed(self, method: str, round_: int) -> set[str]:
        """Groups that a round changed."""
        before, after = self.begun[method, round_], self.begun[method, round_ + 1]
        return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.fixture(scope="module", autouse=True)
def memory_is_free() -> Iterator[None]:
    """Measuring it takes longer than all the rest for this many shapes, and nothing here depends on it."""
    with pytest.MonkeyPatch.context() as patch:
        pretend_memory(patch, lambda shape, optimizer: Polynomial())
        patch.setattr("fedsim.engine.host.peak_polynomial", lambda shape, optimizer: Polynomial())
        yield


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    out, seen, blocks = tmp_path_factory.mktemp("growth") / "run", dict[tuple[str, int], Groups](), list[TrainBlock]()
    summary = runs.run(scenario(), world, out, lambda: Spy(seen, blocks))
    return Ended(summary, fedsim.read_run(out), seen, blocks)


def test_one_stage_is_fedavg_bit_for_bit(ended: Ended) -> None:
    weights = {name: method["weights_sha256"] for name, method in ended.summary["methods"].items()}
    assert weights["one"] == weights["fedavg"]
    for table in ("trips", "rounds", "evals", "stages"):
        pd.testing.assert_frame_equal(ended.frame(table, "one"), ended.frame(table, "fedavg"))


def test_the_first_stage_is_fedavg_on_a_smaller_model(ended: Ended) -> None:
    assert ended.begun["grown", 1].keys() > ended.begun["below", 1].keys()
    for round_ in (0, 1):
        for name, values in ended.begun["below", round_].items():
            np.testing.assert_array_equal(ended.begun["grown", round_][name], values)
    # downloads, FLOPs, memory, and the quality before and after each of its rounds
    for table in ("trips", "rounds", "evals"):
        pd.testing.assert_frame_equal(ended.frame(table, "grown", 2), ended.frame(table, "below", 2))


def test_growth_leaves_what_was_trained_and_a_warm_up_does_too(ended: Ended) -> None:
    below = {"embeddings", "layer.0", "layer.1"}
    assert ended.changed("grown", 0) == below | {"head"}
    # round 2 is the warm-up; the new block and the head are put in before it begins, and are what it trains
    for name in below:
        np.testing.assert_array_equal(ended.begun["grown", 3][name], ended.begun["grown", 2][name])
    assert ended.changed("grown", 2) == {"layer.2", "layer.3", "head"}
    assert ended.changed("grown", 3) == {*below, "layer.2", "layer.3", "head"}
    trained = ended.frame("rounds", "grown")["trained_groups"].tolist()
    everything = "embeddings head layer.0 layer.1 layer.2 layer.3"
    assert trained[:5] == ["embeddings head layer.0 layer.1"] * 2 + ["head layer.2 layer.3"] + [everything] * 2


def test_new_blocks_are_new(ended: Ended) -> None:
    before, after = ended.begun["grown", 1], ended.begun["grown", 2]
    for name in ("layer.2", "layer.3", "head"):
        assert not np.array_equal(before[name], after[name])
    # the server's own layers, untouched until then, wait where nothing is put in
    np.testing.assert_array_equal(before["layer.3"], ended.begun["fedavg", 0]["layer.3"])
    assert not np.array_equal(after["layer.2"], after["layer.3"])


class Swapped(Wrapped):
    """Gives hosts other weights than the server's in one version."""

    def __init__(self, version: int, groups: Groups) -> None:
        super().__init__(InlineEngine())
        self._version, self._groups = version, groups

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.inner.publish(name, version, self._groups[name] if version == self._version else values, keep)


@pytest.mark.slow
def test_after_the_last_growth_it_is_fedavg_from_the_same_weights(world: Path, tmp_path: Path) -> None:
    grown = {"kind": "progfed", "further_pretrain": {"stages": 2, "new_blocks": "random"}}
    raw = scenario({"grown": grown, "fedavg": METHODS["fedavg"]}, phases__finetune=None)
    seen = dict[tuple[str, int], Groups]()
    summary = runs.run(raw, world, tmp_path / "run", lambda: Spy(seen))["methods"]
    last = int(fedsim.read_run(tmp_path / "run").stages.query("method == 'grown'")["first_round"].max())
    assert 0 < last < 4
    # FedAvg changes every group in every round, so a group's version is the number of rounds before
    groups = {f"fedavg/{name}": values for name, values in seen["grown", last].items()}
    after = runs.run(raw, world, tmp_path / "after", lambda: Swapped(last, groups), methods=["fedavg"])["methods"]
    assert (
        after["fedavg"]["weights_sha256"] == summary["grown"]["weights_sha256"] != summary["fedavg"]["weights_sha256"]
    )


def test_a_server_optimizer_starts_afresh_at_growth_or_goes_on(world: Path, tmp_path: Path) -> None:
    grown: dict[str, Any] = {"kind": "progfed", "further_pretrain": {"stages": 2, "stage_rounds": [2, 2]}}
    server = {"kind": "sgd", "momentum": 0.9}
    methods = {"reset": grown | {"server": server}, "kept": grown | {"server": server, "reset_server_optimizer": False}}
    seen = dict[tuple[str, int], Groups]()
    raw = scenario(methods, phases__finetune=None, phases__further_pretrain__rounds=4)
    runs.run(raw, world, tmp_path / "run", lambda: Spy(seen))
    state = {name: load_latest(tmp_path / "run" / "checkpoints" / name) for name in methods}
    momentum = {}
    for name, found in state.items():
        assert found is not None
        momentum[name] = {key: values for key, values in found.arrays.items() if key.startswith("server/momentum/")}
        assert len(momentum[name]) == len(GROUPS)
    for round_ in (0, 1, 2):  # nothing is different until the first step after the growth
        for group in GROUPS:
            np.testing.assert_array_equal(seen["reset", round_][group], seen["kept", round_][group])
    differ = {group for group in GROUPS if not np.array_equal(seen["reset", 3][group], seen["kept", 3][group])}
    # the head is new, and the new blocks have never been trained: neither has a momentum that could go on
    assert differ == {"embeddings", "layer.0", "layer.1"}


@pytest.mark.slow
def test_it_goes_with_fedprox_fedadam_and_small_updates(world: Path, tmp_path: Path) -> None:
    """In one stage with the proximal term it is FedProx; an update's bytes are those of the codec, stage by stage."""
    one = {"stages": 1}
    methods: dict[str, dict[str, Any]] = {
        "fedprox": {"mu": 0.5, "weighting": "uniform"},
        "proximal": {"kind": "progfed", "mu": 0.5, "further_pretrain": one},
        "together": {
            "kind": "progfed",
            "further_pretrain": {"stages": 2},
            "mu": 0.1,
            "server": {"kind": "fedadam", "learning_rate": 0.01},
            "upload": {"bits": 8, "share": 0.25},
            "what": "delta",
        },
    }
    summary = runs.run(scenario(methods, phases__finetune=None), world, tmp_path / "run")["methods"]
    assert summary["proximal"]["weights_sha256"] == summary["fedprox"]["weights_sha256"]
    stages = fedsim.read_run(tmp_path / "run").stages.query("method == 'together'")
    codec = Codec.model_validate(methods["together"]["upload"])
    bert = Architecture("bert", 300, 16, 4, 2, 32, 24, 0.1)
    for stage in stages.to_dict("records"):
        depth = int(stage["depth"])
        sent = layouts(replace(bert, layers=depth, vocabulary=_vocabulary(tmp_path / "run")), Head("mlm")).values()
        assert stage["upload_bytes_per_client"] == sum(codec.payload_bytes(layout) for layout in sent)
    assert stages["depth"].tolist() == [2, 4]


def _vocabulary(run: Path) -> int:
    state = load_latest(run / "checkpoints" / "together")
    assert state is not None
    hidden, positions, types, norm = 16, 24, 2, 2
    return len(state.arrays["group/embeddings"]) // hidden - positions - types - norm


def test_stacked_layers_are_copies(ended: Ended) -> None:
    stages = ended.frame("stages", "stacking")
    assert stages["depth"].tolist() == [1, 2, 4, 4]
    for depth, first in zip([1, 2], stages["first_round"].tolist()[1:3], strict=True):
        before, after = ended.begun["stacking", first - 1], ended.begun["stacking", first]
        assert not np.array_equal(before["layer.0"], after["layer.0"])  # trained in the round between
        for i in range(depth):
            np.testing.assert_array_equal(after[f"layer.{i + depth}"], after[f"layer.{i}"])
        trained = ended.frame("rounds", "stacking")["trained_groups"][first]
        assert set(trained.split()) == {"embeddings", "head", *(f"layer.{i}" for i in range(2 * depth))}


def test_optimizers_go_on_or_start_afresh_at_growth(ended: Ended) -> None:
    stages = ended.frame("stages", "stacking")["first_round"].tolist()
    for round_ in range(stages[1] + 1):  # until clients that were there before come back, both are the same
        same = [np.array_equal(ended.begun["stacking", round_][n], ended.begun["restarted", round_][n]) for n in GROUPS]
        assert all(same)
    assert (
        ended.summary["methods"]["stacking"]["weights_sha256"]
        != ended.summary["methods"]["restarted"]["weights_sha256"]
    )


def test_frozen_layers_stay_and_are_not_sent(ended: Ended) -> None:
    rounds = ended.frame("rounds", "freezing")
    assert [set(row.split()) for row in rounds["trained_groups"][:5]] == [
        {*GROUPS},
        {*GROUPS} - {"embeddings", "layer.0"},
        {*GROUPS} - {"embeddings", "layer.0"},
        {"layer.2", "layer.3", "head"},
        {"layer.2", "layer.3", "head"},
    ]
    frozen = {1: {"embeddings", "layer.0"}, 2: {"embeddings", "layer.0"}, 3: {"embeddings", "layer.0", "layer.1"}}
    for round_, names in frozen.items():
        assert ended.changed("freezing", round_) == {*GROUPS} - names
    trips = ended.frame("trips", "freezing")
    sent = trips.groupby("round")["price_upload_bytes"].unique()
    values = ended.begun["freezing", 0]
    for round_, names in frozen.items():
        assert sent[round_].tolist() == [4 * sum(len(values[name]) for name in {*GROUPS} - names)]


def test_bytes_and_flops_of_every_stage_are_those_of_its_model(ended: Ended) -> None:
    trips = ended.run.trips[
        ended.run.trips["useful"] & ended.run.trips["method"].isin(["grown", "stacking", "freezing"])
    ]
    smallest = trips.sort_values("tokens", kind="stable").groupby(["method", "phase", "stage"], observed=True).head(1)
    assert len(smallest) == 5 + 4 + 5
    for trip in smallest.itertuples():
        where: Any = trip
        (block,) = (
            block
            for block in ended.blocks
            if (block.method, block.round) == (where.method, where.round) and block.clients[0].client == where.client
        )
        assert (where.flops_forward, where.flops_backward) == counted(block, block.clients[0])
        parts = LocalModel(block.shape).trained.values()
        assert where.upload_bytes == sum(len(payload(part, PLAIN)) for part in parts)


def test_prices_are_those_of_training(ended: Ended, world: Path, tmp_path: Path) -> None:
    runs.run(scenario(), world, tmp_path / "run", None)
    priced = Ended({}, fedsim.read_run(tmp_path / "run"))
    for method in METHODS:
        for table in ("trips", "rounds", "stages"):
            wanted, found = ended.frame(table, method), priced.frame(table, method)
            pd.testing.assert_frame_equal(
                found.drop(columns="loss", errors="ignore"), wanted.drop(columns="loss", errors="ignore")
            )


def test_a_client_that_missed_the_growth_pays_for_what_is_new(world: Path, tmp_path: Path) -> None:
    cohorts = [[0, 1], [0], [1, 2], [0, 1]]
    raw = scenario(
        {"grown": {"kind": "progfed", "further_pretrain": {"stages": 2, "stage_rounds": [2, 2]}}},
        phases__finetune=None,
        phases__further_pretrain__rounds=4,
        phases__further_pretrain__participation={"clients_per_round": 2, "cohorts": cohorts},
    )
    runs.run(raw, world, tmp_path / "run", None)
    run = fedsim.read_run(tmp_path / "run")
    small_bytes, whole = run.stages["download_bytes_per_client"].tolist()
    trips = run.trips.set_index(["round", "client"])["price_download_bytes"]
    assert trips.to_dict() == {
        (0, 0): small_bytes,
        (0, 1): small_bytes,
        (1, 0): small_bytes,  # all of it has changed in round 0
        (2, 1): whole,
        (2, 2): whole,
        (3, 0): whole,
        (3, 1): whole,
    }
    # in a warm-up the old blocks do not change: who was there just before pays for the new ones and the head alone
    raw["methods"]["grown"]["further_pretrain"] |= {"warmup_rounds": 1}
    runs.run(raw, world, tmp_path / "warm", None)
    warm = fedsim.read_run(tmp_path / "warm")
    trips = warm.trips.set_index(["round", "client"])["price_download_bytes"]
    new = int(warm.stages["upload_bytes_per_client"].iloc[1])
    assert trips[3, 1] == new < whole
    assert trips[2, 1] == trips[3, 0] == whole


@pytest.mark.slow
def test_killed_in_every_round_and_resumed(ended: Ended, world: Path, tmp_path: Path) -> None:
    names = ("grown", "stacking", "freezing")
    raw = scenario({name: METHODS[name] for name in names}, outputs__checkpoint_every_rounds=1)
    out, left = tmp_path / "run", [(name, round_) for name in names for round_ in range(8)]
    with pytest.raises(Killed):
        runs.run(raw, world, out, lambda: Murdered(left))
    while left:
        with pytest.raises(Killed):
            runs.resume(out, lambda: Murdered(left))
    assert hashes(runs.resume(out)) == {name: hashes(ended.summary)[name] for name in names}


class Murdered(Wrapped):
    """Dies in the middle of the next round on its list."""

    def __init__(self, left: list[tuple[str, int]]) -> None:
        super().__init__(InlineEngine())
        self._left = left

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            yield result
            if isinstance(tasks[0], TrainBlock) and (tasks[0].method, tasks[0].round) == self._left[0]:
                self._left.pop(0)
                raise Killed


def test_a_model_that_is_still_growing_opens_with_transformers(world: Path, tmp_path: Path) -> None:
    raw = scenario({"grown": METHODS["grown"]}, outputs__save_models=True)
    with pytest.raises(KeyboardInterrupt):
        runs.run(raw, world, tmp_path / "run", lambda: Interrupted("grown", 2))
    request = simulation.resumed(tmp_path / "run")
    data = build(request.scenario, request.base, request.folder, Silent())
    item = prepare(data, "grown")
    account, state = Account("grown", request.folder), simulation._initial_state(data, item)
    account.restore(state, item.layouts_after)
    assert state.round == 2
    simulation._save_model(data, item, state, request.folder)
    model = AutoModelForMaskedLM.from_pretrained(request.folder / "models" / "grown")
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == 2
    layout = layouts(item.architecture, Head("mlm"))["layer.1"]
    weights = model.bert.encoder.layer[1].output.dense.weight.detach().numpy()
    np.testing.assert_array_equal(weights, layout.split(state.model.groups["layer.1"])["output.dense.weight"])


class Interrupted(Wrapped):
    """Ctrl-C in a round of a method."""

    def __init__(self, method: str, round_: int) -> None:
        super().__init__(InlineEngine())
        self._place = (method, round_)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        if isinstance(tasks[0], TrainBlock) and (tasks[0].method, tasks[0].round) == self._place:
            raise KeyboardInterrupt
        yield from self.inner.run(tasks, label)
