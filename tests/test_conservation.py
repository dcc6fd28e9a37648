"""A trace adds up, and every number in it is what a model, a payload and a device really are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import fedsim
from fedsim import Run, rng
from fedsim.data.shards import Shards
from fedsim.engine.host import Host, open_world
from fedsim.engine.tasks import ClientWork, TrainBlock
from fedsim.methods.fedbt import FedBT
from fedsim.model.architecture import LocalShape
from fedsim.model.local import LocalModel
from fedsim.model.part import Part
from fedsim.plan import PartName
from fedsim.scenario.schema import Scenario
from fedsim.trace import parse_slots
from fedsim.wire import Codec
from tests import runs
from tests.runs import METHODS, Blocks, rows, small, uneven_fleet

WHOLE = ("download_bytes", "upload_bytes", "flops_forward", "flops_backward")
LEGS = ("download_s", "compute_s", "upload_s")
OUTCOMES = ("completed", "late", "dropped", "out_of_memory", "unused", "failed", "rejected")


@dataclass
class Ended:
    """A finished run of every method, on a fleet in which some devices are slow and one has little memory."""

    run: Run
    fleet: pd.DataFrame
    blocks: list[TrainBlock] = field(default_factory=list)

    def block(self, trip: Any) -> tuple[TrainBlock, ClientWork]:
        """The work of a useful trip."""
        (found,) = [
            (block, work)
            for block in self.blocks
            for work in block.clients
            if (block.method, block.round, work.client) == (trip.method, trip.round, trip.client)
        ]
        return found

    def rounds(self) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Every round with its trips."""
        trips = dict(list(self.run.trips.groupby(["method", "round"], observed=True)))
        for row in rows(self.run.rounds):
            yield row, trips[row.method, row.round]


def scenario() -> dict[str, Any]:
    return small(fleet__source={"kind": "file", "path": "fleet.csv"}, phases__finetune__evaluate_every_rounds=1)


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    devices, seen = uneven_fleet(world / "fleet.csv", least_memory_bytes=250_000), list[TrainBlock]()
    out = tmp_path_factory.mktemp("conservation") / "run"
    runs.run(scenario(), world, out, lambda: Blocks(seen))
    ended = Ended(fedsim.read_run(out), devices, seen)
    # without them the tests below would show less than they say
    assert set(ended.run.trips.outcome) == {"completed", "late", "out_of_memory"}
    return ended


def sums(trips: pd.DataFrame) -> dict[str, float]:
    seconds = trips.download_s + trips.compute_s + trips.upload_s
    return {
        **{name: int(trips[name].sum()) for name in (*WHOLE, "tokens", "real_tokens")},
        "device_seconds": math.fsum(seconds),
        "energy_j": math.fsum(trips.energy_j),
    }


def test_rounds_are_the_sums_of_their_trips(ended: Ended) -> None:
    for row, trips in ended.rounds():
        wasted = sums(trips[~trips.useful])
        wanted = sums(trips) | {f"wasted_{name}": wasted[name] for name in (*WHOLE, "device_seconds")}
        assert {name: getattr(row, name) for name in wanted} == wanted
        assert row.cohort == len(trips) == sum(getattr(row, name) for name in OUTCOMES)
        assert {name: getattr(row, name) for name in OUTCOMES} == {n: int((trips.outcome == n).sum()) for n in OUTCOMES}
        useful = trips[trips.useful]
        assert row.loss == math.fsum(useful.weight * useful.loss)
        assert trips[~trips.useful].loss.isna().all()


def test_totals_are_the_sums_of_the_rounds(ended: Ended) -> None:
    for name, found in ended.run.summary["methods"].items():
        rounds = ended.run.rounds[ended.run.rounds.method == name]
        for column in (*WHOLE, *(f"wasted_{column}" for column in WHOLE), "tokens", "real_tokens"):
            assert found[column] == rounds[column].sum()
        for column in ("device_seconds", "wasted_device_seconds", "energy_j"):
            assert found[column] == pytest.approx(math.fsum(rounds[column]), rel=1e-15)
        assert found["wasted_bytes"] == rounds.wasted_download_bytes.sum() + rounds.wasted_upload_bytes.sum()
        assert found["wasted_flops"] == rounds.wasted_flops_forward.sum() + rounds.wasted_flops_backward.sum()
        assert found["simulated_seconds"] == rounds.end_s.iloc[-1]
        assert (found["rounds"], found["clients_trained"]) == (len(rounds), rounds.completed.sum())


def test_evaluations_stand_beside_what_was_spent_by_then(ended: Ended) -> None:
    for name in METHODS:
        rounds = ended.run.rounds[ended.run.rounds.method == name].set_index("round")
        evals = ended.run.evals[ended.run.evals.method == name]
        assert sorted(set(evals["round"])) == [-1, 2, 3, 4]
        for row in rows(evals):
            before = rounds.loc[: row.round] if row.round >= 0 else rounds.iloc[:0]
            assert row.upload_bytes == before.upload_bytes.sum()
            assert row.download_bytes == before.download_bytes.sum()
            assert row.flops == before.flops_forward.sum() + before.flops_backward.sum()
            assert row.simulated_s == (before.end_s.iloc[-1] if len(before) else 0.0)
    last = ended.run.evals.groupby(["method", "phase", "metric"], sort=False).last().reset_index()
    for row in rows(last):
        assert ended.run.summary["methods"][row.method]["quality"][f"{row.phase}/{row.metric}"] == row.value


def test_time_never_goes_back(ended: Ended) -> None:
    for _, rounds in ended.run.rounds.groupby("method", sort=False):
        assert rounds.start_s.tolist() == [0.0, *rounds.end_s[:-1]]
        assert (rounds.end_s >= rounds.start_s).all()
    for row, trips in ended.rounds():
        assert (trips.start_s == row.start_s).all()
        assert (trips.end_s <= row.end_s).all()
        useful = trips[trips.useful]
        spent = useful.download_s + useful.compute_s + useful.upload_s
        assert useful.end_s.to_numpy() == pytest.approx(useful.start_s + spent, rel=1e-12)


def test_useful_trips_spend_their_price_and_others_at_most_that(ended: Ended) -> None:
    trips = ended.run.trips
    assert (trips.useful == (trips.outcome == "completed")).all()
    for name in WHOLE:
        assert (trips[name] == trips[f"price_{name}"])[trips.useful].all()
        assert (trips[name] <= trips[f"price_{name}"])[~trips.useful].all()
    nothing = trips[trips.outcome == "out_of_memory"]
    assert (nothing[[*WHOLE, *LEGS, "energy_j"]] == 0).all(axis=None)
    assert (nothing.memory_bytes > 250_000).all()
    late = trips[trips.outcome == "late"]
    assert (late[list(WHOLE)].sum(axis=1) < late[[f"price_{name}" for name in WHOLE]].sum(axis=1)).any()


def test_times_and_energy_follow_from_the_device(ended: Ended) -> None:
    trips = ended.run.trips[ended.run.trips.client >= 0]
    device = ended.fleet.loc[trips.client].set_index(trips.index)
    down_s = 8 * trips.download_bytes / device.downlink_bits_per_s
    up_s = 8 * trips.upload_bytes / device.uplink_bits_per_s
    spent = trips.compute_s * device.compute_power_w + (down_s + up_s) * device.radio_power_w
    assert trips.energy_j.to_numpy() == pytest.approx(spent.to_numpy(), rel=1e-12)
    useful = trips.useful
    for leg, flow_s, column in (("download_s", down_s, "download_bytes"), ("upload_s", up_s, "upload_bytes")):
        wanted = flow_s + device.latency_s * (trips[column] > 0)
        assert trips[leg][useful].to_numpy() == pytest.approx(wanted[useful].to_numpy(), rel=1e-12)
    flops = (trips.flops_forward + trips.flops_backward) / device.flops_per_s
    assert trips.compute_s[useful].to_numpy() == pytest.approx(flops[useful].to_numpy(), rel=1e-12)


def test_weights_are_shares_of_samples(ended: Ended) -> None:
    sizes = Shards.open(ended.run.path / "shards").sizes
    for row, trips in ended.rounds():
        assert math.fsum(trips.weight) == pytest.approx(1.0, abs=1e-12)
        assert (trips.weight[~trips.useful] == 0).all()
        clients = trips.client[trips.useful].to_numpy()
        if row.method == "centralized":
            wanted = np.ones(1)
        else:
            wanted = sizes[clients].astype(np.float64) if row.method != "kept" else np.ones(len(clients))
        assert trips.weight[trips.useful].to_numpy() == pytest.approx(wanted / wanted.sum(), rel=1e-12)


def payload(part: Part, codec: Codec) -> bytes:
    """What crosses the network of a group that lies in a local model."""
    values = rng.stream(1, "values").standard_normal(part.layout.size, np.float32)
    return codec.encode(values, part.layout, rng.stream(1, "payload"))


def test_an_upload_is_as_long_as_the_trained_groups_serialised(ended: Ended) -> None:
    models: dict[tuple[LocalShape, tuple[PartName, ...], Codec], int] = {}
    for trip in rows(ended.run.trips[ended.run.trips.useful]):
        block = ended.block(trip)[0]
        key = (block.shape, block.private, block.wire.upload)
        if key not in models:
            sent = [part for name, part in LocalModel(block.shape).trained.items() if name not in block.private]
            models[key] = sum(len(payload(part, block.wire.upload)) for part in sent)
        assert trip.price_upload_bytes == (0 if trip.client < 0 else models[key])
    assert len(models) > 10


def group_sizes(ended: Ended, method: str, phase: str) -> dict[str, int]:
    """Bytes of each group of the global model, serialised."""
    block = next(block for block in ended.blocks if (block.method, block.phase) == (method, phase))
    shape, codec = block.shape, block.wire.download
    whole = LocalModel(LocalShape(shape.architecture, shape.head, shape.architecture.layers))
    named = {name if isinstance(name, str) else f"layer.{name}": part for name, part in whole.parts.items()}
    return {name: len(payload(part, codec)) for name, part in named.items()}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "centralized"])
def test_a_download_is_what_the_client_lacked(ended: Ended, method: str) -> None:
    """Follows every client's groups through the trace, one at a time."""
    spec = Scenario.model_validate(scenario()).methods[method]
    needed_only = isinstance(spec, FedBT) and spec.pool == "needed"
    version: dict[str, int] = {}
    held: dict[tuple[int, str], int] = {}
    phase, sizes, skipped = "", dict[str, int](), 0
    for row, trips in ended.rounds():
        if row.method != method:
            continue
        if row.phase != phase:
            version["head"] = version.get("head", 0) + 1  # a phase brings its own head
            phase, sizes = row.phase, group_sizes(ended, method, row.phase)
        for trip in rows(trips):
            layers = {i for slot in parse_slots(trip.slots) for i in (slot if isinstance(slot, tuple) else (slot,))}
            used = {"embeddings", "head", *(f"layer.{i}" for i in layers)} if needed_only else set(sizes)
            lacks = [name for name in used if held.get((trip.client, name)) != version.get(name, 0)]
            assert trip.price_download_bytes == sum(sizes[name] for name in lacks)
            skipped += len(sizes) - len(lacks)
            if trip.outcome != "out_of_memory" and trip.download_bytes == trip.price_download_bytes:
                held |= {(trip.client, name): version.get(name, 0) for name in used}
        for name in row.trained_groups.split():
            version[name] = version.get(name, 0) + 1
    assert (skipped > 0) == (method not in ("fedavg", "kept", "light"))


def counted(block: TrainBlock, work: ClientWork) -> tuple[int, int]:
    """FLOPs that PyTorch dispatches on the batches that this client trained on."""
    host, model = Host("here"), LocalModel(block.shape)
    for part in model.parts.values():
        part.flat.zero_()
    forward, backward = 0, 0
    # the fused attention kernels of a CPU are not counted, its plain products are
    with sdpa_kernel(SDPBackend.MATH):
        for batch in host._batches(open_world(block.world), block, work):
            with FlopCounterMode(display=False) as up:
                loss = model.loss(batch)
            with FlopCounterMode(display=False) as down:
                loss.backward()  # type: ignore[no-untyped-call]
            forward, backward = forward + up.get_total_flops(), backward + down.get_total_flops()
    return forward, backward


@pytest.mark.slow
def test_flops_are_those_of_the_batches_that_were_trained_on(ended: Ended) -> None:
    useful = ended.run.trips[ended.run.trips.useful]
    smallest = useful.sort_values("tokens", kind="stable").groupby(["method", "phase", "stage"], observed=True).head(1)
    assert len(smallest) == 26
    for trip in rows(smallest):
        block, work = ended.block(trip)
        assert (trip.flops_forward, trip.flops_backward) == counted(block, work), (trip.method, trip.phase, trip.stage)


def test_work_is_that_of_the_batches(ended: Ended) -> None:
    host = Host("here")
    for trip in rows(ended.run.trips[ended.run.trips.useful]):
        block, work = ended.block(trip)
        batches = list(host._batches(open_world(block.world), block, work))
        assert (trip.batches, trip.samples) == (len(batches), sum(len(batch.ids) for batch in batches))
        assert trip.tokens == sum(batch.ids.numel() for batch in batches)
        real = sum(batch.ids.numel() if batch.real is None else int(batch.real.sum()) for batch in batches)
        assert trip.real_tokens == real


def test_a_price_is_the_same_trace_without_training(ended: Ended, world: Path, tmp_path: Path) -> None:
    summary = runs.run(scenario(), world, tmp_path / "price", engine=None)
    price = fedsim.read_run(tmp_path / "price")
    for table in ("trips", "rounds", "stages"):
        found, wanted = getattr(price, table), getattr(ended.run, table)
        if table != "stages":
            assert found.loss.isna().all()
            found, wanted = found.drop(columns="loss"), wanted.drop(columns="loss")
        pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_categorical=False)
    assert price.evals.empty
    for name, numbers in summary["methods"].items():
        assert numbers["weights_sha256"] is None
        same = numbers.keys() - {"quality", "weights_sha256", "trace_sha256"}
        assert {k: numbers[k] for k in same} == {k: ended.run.summary["methods"][name][k] for k in same}
