"""HeteroFL and FedRolex: parts of layers, what they cost, and a mean over those who hold an entry."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import fedsim
from fedsim import Run, rng
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import BlockSum, Result, Task, TrainBlock
from fedsim.errors import UserError
from fedsim.methods.heterofl import HeteroFL
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, initialise, layouts
from fedsim.model.local import LocalModel
from fedsim.model.width import Window
from fedsim.scenario.schema import Scenario
from fedsim.server.merge import Merge
from fedsim.server.parameters import Pools
from fedsim.wire import PLAIN
from tests import runs
from tests.runs import CLIENTS, Wrapped, small

from .states import arrays

SHORT: dict[str, Any] = {"phases__pretrain": None, "phases__finetune": None, "phases__evaluate": None}
TINY = Architecture("bert", 30, 8, 2, 4, 12, 8, 0.0)


@pytest.mark.slow
def test_the_whole_width_is_fedavg_to_the_last_bit(world: Path, tmp_path: Path) -> None:
    methods: dict[str, dict[str, Any]] = {
        "fedavg": {},
        "alone": {"kind": "heterofl", "rates": [1.0]},
        "rolling": {"kind": "heterofl", "rates": [1.0], "window": "rolling", "roll_units": 5},
        # every device can hold the whole model
        "among-others": {"kind": "heterofl", "rates": [0.5, 1.0]},
    }
    short = {"phases__pretrain": None, "phases__evaluate": None, "phases__finetune__participation__deadline_s": None}
    found = runs.hashes(runs.run(small(methods, **short), world, tmp_path / "run"))
    assert len({weights for weights, _ in found.values()}) == 1
    trips = fedsim.read_run(tmp_path / "run").trips
    for name in methods:
        own = trips[trips.method == name]
        assert (own.plan == (1 if name == "among-others" else 0)).all()
        for column in ("upload_bytes", "download_bytes", "flops_forward", "flops_backward", "memory_bytes", "end_s"):
            assert own[column].tolist() == trips.loc[trips.method == "fedavg", column].tolist()


def start(scenario: Mapping[str, Any], vocabulary: int) -> dict[str, FloatArray]:
    """Groups of an untrained model, from the seed."""
    a = Architecture("bert", vocabulary, dropout=0.1, **scenario["model"])
    return {
        name: initialise(one, rng.stream(scenario["seed"], "init", name))
        for name, one in layouts(a, Head("mlm")).items()
    }


@pytest.mark.parametrize("window", ["nested", "rolling"])
def test_entries_that_no_client_held_keep_their_value(window: str, world: Path, tmp_path: Path) -> None:
    method = {"kind": "heterofl", "rates": [0.5], "window": window} | ({"roll_units": 8} if window == "rolling" else {})
    raw = small({"narrow": method}, **SHORT, phases__further_pretrain__rounds=3)
    runs.run(raw, world, tmp_path / "run")
    after = arrays(tmp_path / "run", "narrow", "group")
    before = start(raw, len(after["head"]) - 16 * 16 - 3 * 16)
    a = Architecture("bert", 0, 16, 4, 2, 32, 24, 0.1)
    moves = range(3) if window == "rolling" else [0]
    for index in range(4):
        held = np.zeros(len(after[f"layer.{index}"]), bool)
        for i in moves:
            held[Window(a, 0.5, i, 8 * i).entries(index)] = True
        changed = after[f"layer.{index}"] != before[f"layer.{index}"]
        assert not changed[~held].any()
        # the bias of a key moves the scores of all tokens alike, so its gradient is 0
        assert changed[held].mean() > 0.95
        assert held.all() == (window == "rolling")
    assert (after["embeddings"] != before["embeddings"]).any()
    assert (after["head"] != before["head"]).any()


PARTS = st.lists(
    st.tuples(st.sampled_from([None, 0.25, 0.5, 0.75]), st.integers(0, 3), st.integers(0, 11), st.floats(0.5, 9.0)),
    min_size=1,
    max_size=5,
)


@given(PARTS, st.integers(0, 2**31), st.randoms())
def test_a_mean_is_taken_entry_by_entry_over_those_who_hold_it(parts: list[Any], seed: int, order: Any) -> None:
    draw = np.random.default_rng(seed)
    size = layouts(TINY, Head("linear", 2))["layer.1"].size
    before = draw.standard_normal(size).astype(np.float32)
    weights = np.array([weight for *_, weight in parts])
    windows = [None if rate is None else Window(TINY, rate, head, unit) for rate, head, unit, _ in parts]
    entries = [np.arange(size) if window is None else window.entries(1) for window in windows]
    values = [draw.standard_normal(len(own)).astype(np.float32) for own in entries]
    sums = [v * np.float32(w / weights.sum()) for v, w in zip(values, weights, strict=True)]
    holders: dict[Window | None, float] = {}
    for window, weight in zip(windows, weights, strict=True):
        holders[window] = holders.get(window, 0.0) + weight / weights.sum()

    straight, shuffled = Merge({"layer.1": before}), Merge({"layer.1": before})
    mixed = list(range(len(parts)))
    order.shuffle(mixed)
    for merge, numbers in ((straight, range(len(parts))), (shuffled, mixed)):
        for i in numbers:
            merge.add(i, {"layer.1": sums[i]}, windows[i])
    (found,) = straight.means({}, {"layer.1": holders}).values()
    assert np.array_equal(found, shuffled.means({}, {"layer.1": holders})["layer.1"])

    total, share = np.zeros(size), np.zeros(size)
    for own, v, w in zip(entries, values, weights, strict=True):
        total[own] += w * v
        share[own] += w
    wanted = np.where(share > 0, total / np.where(share > 0, share, 1.0), before)
    assert np.allclose(found, wanted, rtol=0, atol=1e-5)
    assert np.array_equal(found[share == 0], before[share == 0])


def test_the_lost_are_no_holders() -> None:
    before = {"layer.0": np.full(layouts(TINY, Head("linear", 2))["layer.0"].size, 7.0, np.float32)}
    half, merge = Window(TINY, 0.5), Merge(before)
    merge.add(0, {"layer.0": np.full(len(half.entries(0)), 0.25, np.float32)}, half)  # 1 with a share of a quarter
    merge.add(1, {})  # a client with the whole layer and the rest of the shares failed
    found = merge.means({"layer.0": 0.75}, {"layer.0": {half: 0.25}})["layer.0"]
    held = np.zeros(len(found), bool)
    held[half.entries(0)] = True
    assert (found[held] == 1.0).all()
    assert (found[~held] == 7.0).all()


class Seen(Wrapped):
    """Keeps the blocks and what came back of them."""

    def __init__(self, seen: list[tuple[TrainBlock, BlockSum]]) -> None:
        super().__init__(InlineEngine())
        self._seen = seen

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            if isinstance(result, BlockSum):
                task = next(task for task in tasks if task.index == result.index)
                assert isinstance(task, TrainBlock)
                self._seen.append((task, result))
            yield result


def fleet(folder: Path) -> None:
    """Three sizes of memory: some devices can hold the whole model, some a half or quarter of its layers."""
    columns = {
        "device": [("small", "middle", "large")[i % 3] for i in range(CLIENTS)],
        "flops_per_s": [1e9 * (1 + i % 3) for i in range(CLIENTS)],
        "memory_bytes": [(450_000, 800_000, 10_000_000)[i % 3] for i in range(CLIENTS)],
        "downlink_bits_per_s": 1e7,
        "uplink_bits_per_s": 1e6,
        "latency_s": 0.01,
        "compute_power_w": 2.0,
        "radio_power_w": 1.0,
    }
    pd.DataFrame(columns).to_csv(folder / "sizes.csv", index=False)


def unequal(**methods: Mapping[str, Any]) -> dict[str, Any]:
    changes = {**SHORT, "phases__further_pretrain__rounds": 3, "fleet__source": {"kind": "file", "path": "sizes.csv"}}
    # one is away in every round, so that there is something to catch up with
    part = {
        "cohorts": [[client for client in range(CLIENTS) if client != i] for i in (2, 3, 7)],
        "clients_per_round": 7,
    }
    wide = {"hidden": 16, "layers": 2, "heads": 4, "feed_forward": 512, "max_positions": 24}
    return small(
        methods,
        **changes,
        model=wide,
        phases__further_pretrain__local__batch_samples=2,
        phases__further_pretrain__participation=part,
    )


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[tuple[TrainBlock, BlockSum]]]:
    """Devices of three sizes, and every way in which a window may lie."""
    fleet(world)
    seen: list[tuple[TrainBlock, BlockSum]] = []
    options = {"kind": "heterofl", "assignment": {"by": "devices", "devices": {"small": 0, "middle": 1, "large": 2}}}
    raw = unequal(nested=options, rolling={**options, "window": "rolling", "roll_units": 3})
    raw["engine"] = {**raw.get("engine", {}), "block_clients": 1}
    out = tmp_path_factory.mktemp("heterofl") / "run"
    runs.run(raw, world, out, lambda: Seen(seen))
    return fedsim.read_run(out), seen


def test_what_is_sent_is_as_long_as_the_narrower_groups(ended: tuple[Run, list[tuple[TrainBlock, BlockSum]]]) -> None:
    run, seen = ended
    sent: dict[int, set[int]] = {}
    for task, result in seen:
        (work,) = task.clients
        length = sum(len(sums.tobytes()) for sums in result.sums.values())
        trips = run.trips[(run.trips.method == task.method) & (run.trips["round"] == task.round)]
        (trip,) = trips[trips.client == work.client].to_dict("records")
        assert trip["upload_bytes"] == length
        assert trip["plan"] == task.plan
        sent.setdefault(task.plan, set()).add(length)
    layer, half, quarter = (
        4 * (4 * 16 * width + 3 * width + 16 + 2 * 16 * units + units + 16 + 4 * 16)
        for width, units in ((16, 512), (8, 256), (4, 128))
    )
    (narrowest,), (middle,), (whole,) = sent[0], sent[1], sent[2]
    assert whole - middle == 2 * (layer - half)
    assert whole - narrowest == 2 * (layer - quarter)


def test_a_download_is_what_the_client_lacks_of_its_window(ended: tuple[Run, Any]) -> None:
    run, seen = ended
    for method in ("nested", "rolling"):
        shapes = {task.plan: task.shape for task, _ in seen if task.method == method}
        sizes = {
            plan: {
                name if isinstance(name, str) else f"layer.{name}": PLAIN.payload_bytes(part.layout)
                for name, part in LocalModel(shape).parts.items()
            }
            for plan, shape in shapes.items()
        }
        version: dict[str, int] = {}
        held: dict[tuple[int, str], tuple[int, int, int]] = {}
        for round_, trips in run.trips[run.trips.method == method].groupby("round"):
            for trip in trips.to_dict("records"):
                rolled = trip["round"] if method == "rolling" and trip["plan"] < 2 else 0
                now = {
                    name: (version.get(name, 0), *((trip["plan"] % 2, rolled) if "layer" in name else (0, 0)))
                    for name in sizes[0]
                }
                now |= {name: (version.get(name, 0), trip["plan"] + 1, rolled) for name in now if "layer" in name}
                lacks = [name for name in now if held.get((trip["client"], name)) != now[name]]
                assert trip["price_download_bytes"] == sum(sizes[trip["plan"]][name] for name in lacks)
                if trip["download_bytes"] == trip["price_download_bytes"]:
                    held |= {(trip["client"], name): what for name, what in now.items()}
            for name in (
                run.rounds[(run.rounds.method == method) & (run.rounds["round"] == round_)]
                .trained_groups.item()
                .split()
            ):
                version[name] = version.get(name, 0) + 1


def test_another_window_is_downloaded_again_and_embeddings_are_not() -> None:
    pools, names = Pools(3, 4), ("embeddings", "layer.0", "layer.1", "head")
    everything, current = np.ones((2, 4), bool), np.array([5, 6, 7, 8], np.int32)
    pools.download(np.array([0, 2]), everything, current, np.array([1, 2], np.int32))
    clients = np.array([0, 1, 2])
    assert pools.holding(clients, 1, names).tolist() == [[5, 6, 7, 8], [-1] * 4, [5, -1, -1, 8]]
    assert pools.holding(clients, 0, names).tolist() == [[5, -1, -1, 8], [-1] * 4, [5, -1, -1, 8]]


def test_weaker_devices_are_given_narrower_models(world: Path, tmp_path: Path) -> None:
    fleet(world)
    raw = unequal(
        memory={"kind": "heterofl"},
        speed={"kind": "heterofl", "assignment": {"by": "speed"}},
        shares={"kind": "heterofl", "assignment": {"by": "shares", "shares": [1, 1, 2]}},
    )
    runs.run(raw, world, tmp_path / "run", engine=None)
    trips = fedsim.read_run(tmp_path / "run").trips
    for name in ("memory", "speed"):
        own = trips[trips.method == name]
        assert (own.plan == own.client % 3).all(), name
        assert set(own.plan) == {0, 1, 2}
    dealt = trips[trips.method == "shares"].groupby("client").plan
    assert (dealt.nunique() == 1).all()
    memory = trips[trips.method == "memory"]
    assert (memory.outcome != "out_of_memory").all()
    assert memory.groupby("plan").memory_bytes.max().is_monotonic_increasing


def test_a_price_is_the_same_trace(world: Path, tmp_path: Path, ended: tuple[Run, Any]) -> None:
    scenario = Scenario.model_validate(ended[0].scenario)
    runs.run(scenario.model_dump(mode="json"), world, tmp_path / "price", engine=None)
    price = fedsim.read_run(tmp_path / "price").trips.drop(columns="loss")
    pd.testing.assert_frame_equal(price, ended[0].trips.drop(columns="loss"), check_categorical=False)


def test_stages_tell_of_every_width(ended: tuple[Run, Any]) -> None:
    stages = ended[0].stages[ended[0].stages.method == "nested"]
    assert stages.plan.tolist() == [0, 1, 2]
    assert stages.trained.unique().tolist() == ["width 0.25, 0.5, 1"]
    for column in ("parameters_sent", "download_bytes_per_client", "upload_bytes_per_client", "flops_share"):
        assert stages[column].is_monotonic_increasing
        assert stages[column].is_unique
    assert stages.flops_share.iloc[-1] == 1.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rates": [0.0, 1.0]}, "greater than 0"),
        ({"rates": [0.5, 1.5]}, "less than or equal to 1"),
        ({"rates": []}, "at least 1 item"),
        ({"rates": [0.5, 0.25]}, "rates: must rise"),
        ({"rates": [0.5, 0.5]}, "rates: must rise"),
        ({"rates": ["half"]}, "valid number"),
        ({"roll_units": 2}, "roll_units: goes with window: rolling, window is nested"),
        ({"window": "rolling", "optimizer_state": "keep"}, "optimizer_state: keep goes with window: nested"),
        ({"server": {"kind": "fedadam"}}, "server.kind: must be average"),
        ({"assignment": {"by": "shares", "shares": [1.0]}}, "assignment.shares: lists 1 shares, there are 3 plans"),
        (
            {"assignment": {"by": "devices", "devices": {"a": 3}}},
            "assignment.devices.a: is plan 3, the plans are 0 to 2",
        ),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HeteroFL.model_validate(options)


def test_a_rate_that_leaves_no_head_is_refused_with_its_place() -> None:
    with pytest.raises(
        ValidationError, match=r"methods\.heterofl\.rates\.0: leaves no attention head of 2: must be at least 0\.5"
    ):
        Scenario.model_validate(small({"heterofl": {}}))


def test_a_model_that_fits_nowhere_is_refused(world: Path, tmp_path: Path) -> None:
    fleet(tmp_path)
    pd.read_csv(tmp_path / "sizes.csv").assign(memory_bytes=100_000).to_csv(tmp_path / "sizes.csv", index=False)
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_bytes((world / name).read_bytes())
    says = r"no device can hold any of its plans: the smallest needs 0\.[23] MB, .* largest device has 0\.1 MB"
    with pytest.raises(UserError, match=says) as told:
        runs.run(unequal(heterofl={}), tmp_path, tmp_path / "run", engine=None)
    assert told.value.key == "methods.heterofl"


def test_a_device_class_without_a_plan_is_refused(world: Path, tmp_path: Path) -> None:
    fleet(world)
    raw = unequal(heterofl={"assignment": {"by": "devices", "devices": {"small": 0, "large": 2}}})
    with pytest.raises(UserError, match="has no plan for the fleet's class 'middle'"):
        runs.run(raw, world, tmp_path / "run", engine=None)


def test_a_shape_knows_its_scale() -> None:
    (stage,) = HeteroFL().stages("finetune", 3, TINY, Head("linear", 2))
    shapes = [LocalShape.of(TINY, Head("linear", 2), plan) for plan in stage.plans]
    assert [shape.scale for shape in shapes] == [4.0, 2.0, 1.0]
    assert [shape.architecture.heads_in(1) for shape in shapes] == [1, 2, 4]
    plain = HeteroFL(scale=False).stages("finetune", 3, TINY, Head("linear", 2))[0]
    assert {LocalShape.of(TINY, Head("linear", 2), plan).scale for plan in plain.plans} == {1.0}
