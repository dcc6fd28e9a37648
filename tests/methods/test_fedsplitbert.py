"""FedSplitBERT: what is averaged, what stays on a client, and that the first alone is ever sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from torch import Tensor

import fedsim
from fedsim.cost.memory import Polynomial
from fedsim.cost.parameters import group_sizes
from fedsim.cost.price import plan_cost
from fedsim.engine.disk import Disk
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import BlockSum, Result, Task
from fedsim.methods.fedsplitbert import FedSplitBERT
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray
from fedsim.model.local import LocalModel
from fedsim.plan import Plan, Slot
from fedsim.scenario.schema import Scenario
from fedsim.store.atomic import Array
from fedsim.training.update import Update
from fedsim.wire import Codec
from tests import markdown, runs
from tests.runs import Wrapped, small

BASE = Architecture("bert", 30522, 768, 12, 12, 3072, 512, 0.1)
COHORTS = ((0, 1), (1, 2), (0, 3))
"""Client 0 misses a round, client 2 comes late, client 7 never."""
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "all": {"kind": "fedsplitbert", "global_layers": [3, 0, 1, 2], "embeddings": "global", "head": "global"},
    "split": {"kind": "fedsplitbert", "global_layers": [1, 2], "embeddings": "local"},
}


def plan(layers: int = 12, **options: Any) -> Plan:
    method = FedSplitBERT.model_validate({"kind": "fedsplitbert", **options})
    (stage,) = method.stages("finetune", 5, Architecture("bert", 100, 8, layers, 2, 16, 16, 0.0), Head("linear", 3))
    (found,) = stage.plans
    return found


@pytest.mark.parametrize(
    ("options", "uploaded", "private", "label"),
    [
        ({}, (0, 1, 2, 3), (4, 5, 6, 7, 8, 9, 10, 11, "head"), "global: layers 0-3"),
        (
            {"global_layers": [11, 0, 5, 6], "head": "global"},
            (0, 5, 6, 11, "head"),
            (1, 2, 3, 4, 7, 8, 9, 10),
            "global: layers 0, 5-6, 11, head",
        ),
        (
            {"global_layers": [2], "embeddings": "local"},
            (2,),
            ("embeddings", 0, 1, *range(3, 12), "head"),
            "global: layer 2",
        ),
        (
            {"global_layers": list(range(12)), "embeddings": "global", "head": "global"},
            ("embeddings", *range(12), "head"),
            (),
            "global: layers 0-11, embeddings, head",
        ),
    ],
)
def test_every_part_is_averaged_or_ones_own(
    options: dict[str, Any], uploaded: tuple[Any, ...], private: tuple[Any, ...], label: str
) -> None:
    found = plan(**options)
    assert found.uploaded == uploaded
    assert set(found.private) == set(private)
    assert found.train_layers == tuple(range(12))
    assert found.train_embeddings == (options.get("embeddings", "frozen") != "frozen")
    method = FedSplitBERT.model_validate({"kind": "fedsplitbert", **options})
    assert [stage.label for stage in method.stages("finetune", 5, BASE, Head("linear", 3))] == [label]


def test_by_default_the_lowest_third_is_global() -> None:
    assert [len(plan(layers).uploaded) for layers in (1, 2, 3, 6, 7, 12)] == [1, 1, 1, 2, 2, 4]


def test_figures_of_the_page() -> None:
    """What a client sends of BERT-base's encoder layers."""
    (table,) = [t for t in markdown.tables(markdown.ROOT / "docs/methods/fedsplitbert.md") if "encoder" in t.header[0]]
    whole = 12 * 4 * 7_087_872
    for named, written, less in table.rows:
        upload = yaml.safe_load(named.partition("`")[2].rstrip("`"))["upload"]
        found = plan(upload=upload, what="delta")
        shape = LocalShape.of(BASE, Head("linear", 2), found)
        sent = plan_cost(shape, Polynomial(), found.private, Codec.model_validate(upload)).upload_bytes
        assert (written, less) == (f"{sent:,}", f"{whole / sent:.2f} times")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"global_layers": []}, "global_layers: names no layer"),
        ({"global_layers": [1, 1]}, "must name each layer only once"),
        ({"global_layers": [0, 4]}, "methods.x.global_layers.1: is 4, the model's layers are 0 to 3"),
        ({"global_layers": [-1]}, "greater than or equal to 0"),
        ({"embeddings": "none"}, "'global', 'local' or 'frozen'"),
        ({"upload": {"bits": 3}}, "32, 16, 8, 4 or 2"),
        ({"upload": {"share": 0.0}, "what": "delta"}, "greater than 0"),
        ({"upload": {"share": 0.5}}, "what: is weights, of which upload.share 0.5 leaves few: use delta"),
        ({"download": {"share": 0.5}}, "download.share: goes with upload alone"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        Scenario.model_validate(small({"x": {"kind": "fedsplitbert", **options}}))
    assert says in str(error.value)


class Spy(Wrapped):
    """Keeps which groups hosts have summed, for each method."""

    def __init__(self) -> None:
        super().__init__(InlineEngine())
        self.sums: dict[str, set[str]] = {}

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            if isinstance(result, BlockSum):
                self.sums.setdefault(label.partition("/")[0], set()).update(result.sums)
            yield result


@dataclass
class Ended:
    """A finished run, and what its clients had on their disks when a round of theirs began and ended."""

    run: fedsim.Run
    spy: Spy
    loaded: list[dict[str, FloatArray]] = field(default_factory=list)
    left: list[tuple[int, int, dict[str, FloatArray]]] = field(default_factory=list)

    def start(self, client: int, round_: int) -> dict[str, FloatArray]:
        """The groups that a client of `split` began a round with."""
        (place,) = [i for i, (who, when, _) in enumerate(self.left) if (who, when) == (client, round_)]
        return self.loaded[place]

    def end(self, client: int, round_: int) -> dict[str, FloatArray]:
        """The private groups that it left."""
        (found,) = [groups for who, when, groups in self.left if (who, when) == (client, round_)]
        return found


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    out, spy = tmp_path_factory.mktemp("split") / "run", Spy()
    loaded: list[dict[str, FloatArray]] = []
    left: list[tuple[int, int, dict[str, FloatArray]]] = []
    load, write = LocalModel.load, Disk.write

    def spied_load(self: LocalModel, groups: Mapping[str, Tensor], slots: tuple[Slot, ...], *more: Any) -> None:
        load(self, groups, slots, *more)
        loaded.append({name: groups[name].numpy().copy() for name in groups})

    def spied_write(self: Disk, model: LocalModel, update: Update) -> None:
        write(self, model, update)
        # the block has loaded just this client, and nothing else since
        del loaded[:-1]
        starts.append(loaded[0])
        stored: Mapping[str, Array] = self.store.read(self.work.client, self.task.round) or {}
        own = {name.removeprefix("private/"): np.array(a) for name, a in stored.items() if name.startswith("private/")}
        left.append((self.work.client, self.task.round, own))

    starts: list[dict[str, FloatArray]] = []
    part = {"clients_per_round": 2, "cohorts": COHORTS}
    raw = small(
        METHODS,
        phases__pretrain=None,
        phases__further_pretrain__participation=part,
        phases__finetune__participation={"clients_per_round": 3, "cohorts": [(0, 2, 3), (1, 2, 4)]},
        phases__finetune__evaluate_every_rounds=1,
        phases__evaluate={"personal": {"fraction": 0.3}},
        outputs__save_models=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalModel, "load", spied_load)
        patch.setattr(Disk, "write", spied_write)
        runs.run(raw, world, out, lambda: spy)
    return Ended(fedsim.read_run(out), spy, starts, left)


def test_with_everything_global_it_is_fedavg_bit_for_bit(ended: Ended) -> None:
    methods = ended.run.summary["methods"]
    assert methods["all"]["weights_sha256"] == methods["fedavg"]["weights_sha256"] != methods["split"]["weights_sha256"]
    assert methods["all"]["quality"] == methods["fedavg"]["quality"]
    for table in ("trips", "rounds", "evals"):
        frame = getattr(ended.run, table).astype({"method": str})
        one, other = (frame[frame.method == name].drop(columns="method") for name in ("fedavg", "all"))
        assert one.reset_index(drop=True).equals(other.reset_index(drop=True)), table


@pytest.mark.slow
def test_it_goes_with_fedprox_and_with_server_optimizers(world: Path, tmp_path: Path) -> None:
    """With everything global it is those methods, bit for bit; with private parts it takes the same steps with less."""
    everything = {"kind": "fedsplitbert", "global_layers": [0, 1, 2, 3], "embeddings": "global", "head": "global"}
    adam = {"kind": "fedadam", "learning_rate": 1e-3}
    methods: dict[str, dict[str, Any]] = {
        "fedprox": {"mu": 0.5},
        "prox": {**everything, "mu": 0.5},
        "fedopt": {"server": adam},
        "adam": {**everything, "server": adam},
        "split": {"kind": "fedsplitbert", "mu": 0.5, "server": adam, "upload": {"bits": 8}, "what": "delta"},
    }
    raw = small(methods, phases__pretrain=None, phases__further_pretrain=None)
    raw["phases"]["finetune"] = {
        "rounds": 2,
        "task": {"label": "topic"},
        "participation": {"clients_per_round": 2},
        "local": {"max_batches": 2, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
    }
    found = {n: m["weights_sha256"] for n, m in runs.run(raw, world, tmp_path / "run")["methods"].items()}
    assert found["prox"] == found["fedprox"]
    assert found["adam"] == found["fedopt"]
    assert len(set(found.values())) == 3


def test_local_parts_never_leave(ended: Ended) -> None:
    assert ended.spy.sums["split"] == {"layer.1", "layer.2"}
    rounds = ended.run.rounds[ended.run.rounds.method == "split"]
    assert set(rounds.trained_groups) == {"layer.1 layer.2"}
    tokens = {name: value for name, value in ended.run.scenario["model"].items() if name != "checkpoint"}
    shape = Architecture("bert", 300, tokens["hidden"], 4, 2, tokens["feed_forward"], tokens["max_positions"], 0.1)
    layer = group_sizes(shape, Head("mlm"))["layer.1"].bytes
    trips = ended.run.trips[ended.run.trips.method == "split"]
    assert (trips.price_upload_bytes == 2 * layer).all()
    again = trips.duplicated(["client", "phase"])
    assert (trips.price_download_bytes[again] <= 2 * layer).all()
    assert (trips.price_download_bytes[~again] > 0).all()


def test_a_client_goes_on_with_what_it_had(ended: Ended) -> None:
    """Client 0 takes part in rounds 0 and 2, and in the first round of the next phase."""
    for before, after in ((0, 2), (2, 3)):
        start, end = ended.start(0, after), ended.end(0, before)
        assert set(end) == {"embeddings", "layer.0", "layer.3", "head"}
        for name in ("embeddings", "layer.0", "layer.3"):
            assert start[name].tobytes() == end[name].tobytes()
    assert ended.start(0, 2)["head"].tobytes() == ended.end(0, 0)["head"].tobytes()
    assert ended.end(0, 0)["layer.3"].tobytes() != ended.end(1, 0)["layer.3"].tobytes()


def test_a_late_client_begins_from_the_common_start(ended: Ended) -> None:
    first, late, later = ended.start(0, 0), ended.start(2, 1), ended.start(4, 4)
    for name in ("embeddings", "layer.0", "layer.3"):
        assert late[name].tobytes() == first[name].tobytes() == later[name].tobytes()
    assert late["head"].tobytes() == first["head"].tobytes()
    assert late["layer.1"].tobytes() != first["layer.1"].tobytes()  # this one is everybody's


def test_a_new_task_has_a_new_head_on_every_client(ended: Ended) -> None:
    heads = {ended.start(client, 3)["head"].tobytes() for client in (0, 2, 3)}
    assert heads == {ended.start(4, 4)["head"].tobytes()}
    assert ended.start(2, 4)["head"].tobytes() == ended.end(2, 3)["head"].tobytes() not in heads
