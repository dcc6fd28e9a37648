"""A trace adds up under every policy, with devices that come, go and vanish."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import fedsim
from fedsim import Run
from fedsim.observe.observer import Silent
from fedsim.phases import prepare
from fedsim.scenario.schema import Scenario
from fedsim.wire import PLAIN
from fedsim.world import build
from tests import runs
from tests.policies.worlds import POLICIES, PRESENCE, playing
from tests.runs import rows

SUMMED = ("download_bytes", "upload_bytes", "flops_forward", "flops_backward")
UNDER_WAY = {"buffered": 5, "asynchronous": 4, "tiered": 4, "synchronous": 5}
"""Most clients under way at a time."""


@dataclass(frozen=True)
class Ended:
    run: Run
    sizes: dict[tuple[str, str], dict[str, int]]
    """Bytes of each group, by method and phase."""
    policy: str


@pytest.fixture(scope="module", params=POLICIES)
def ended(request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder, raw = tmp_path_factory.mktemp("books"), playing(request.param, {"fedavg": {}, "fedbt": {}}, **PRESENCE)
    runs.run(raw, world, folder / "run", None)
    there = build(Scenario.model_validate(raw), world, folder / "world", Silent())
    items = [prepare(there, name) for name in ("fedavg", "fedbt")]
    sizes = {
        (item.name, phase.name): {
            name: PLAIN.payload_bytes(layout) for name, layout in item.layouts(phase, phase.stages[0]).items()
        }
        for item in items
        for phase in item.phases
    }
    run = fedsim.read_run(folder / "run")
    assert {"completed", "dropped"} <= set(run.trips.outcome)
    return Ended(run, sizes, request.param)


def test_rounds_are_the_sums_of_their_trips_and_totals_those_of_rounds(ended: Ended) -> None:
    trips = ended.run.trips
    for row in rows(ended.run.rounds):
        own = trips[(trips.method == row.method) & (trips["round"] == row.round)]
        for name in SUMMED:
            assert getattr(row, name) == own[name].sum()
            assert getattr(row, f"wasted_{name}") == own[name][~own.useful].sum()
        spent = own.download_s + own.compute_s + own.upload_s
        assert row.device_seconds == math.fsum(spent)
        assert row.wasted_device_seconds == math.fsum(spent[~own.useful])
        assert row.cohort == len(own)
        for outcome, count in own.outcome.value_counts().items():
            assert getattr(row, str(outcome)) == count
        assert own.weight[own.useful].sum() <= 1 + 1e-12
    for name, found in ended.run.summary["methods"].items():
        own = ended.run.rounds[ended.run.rounds.method == name]
        for column in SUMMED:
            assert found[column] == own[column].sum()
            assert found[f"wasted_{column}"] == own[f"wasted_{column}"].sum()
        assert found["simulated_seconds"] == own.end_s.iloc[-1]


def test_rounds_follow_each_other_and_trips_end_in_theirs(ended: Ended) -> None:
    for _, rounds in ended.run.rounds.groupby("method"):
        assert rounds.start_s.tolist() == [0.0, *rounds.end_s[:-1]]
        assert (rounds.end_s >= rounds.start_s).all()
    known = ended.run.rounds.set_index(["method", "round"])
    for trip in rows(ended.run.trips):
        ends = known.loc[trip.method, trip.round]
        begins = known.loc[trip.method, trip.round - trip.staleness]
        # tiers have rounds of their own, in which who is back waits for the others
        assert trip.end_s <= ends.end_s
        assert trip.end_s >= ends.start_s or ended.policy == "tiered"
        assert begins.start_s <= trip.start_s <= min(begins.end_s, trip.end_s)
        assert begins.phase == ends.phase == trip.phase


def test_nobody_is_under_way_twice_and_never_too_many_are(ended: Ended) -> None:
    for _, trips in ended.run.trips[ended.run.trips.outcome != "out_of_memory"].groupby("method"):
        for _, own in trips.sort_values(["start_s", "end_s"]).groupby("client"):
            assert (own.start_s.to_numpy()[1:] >= own.end_s.to_numpy()[:-1]).all()
            assert own.start_s.is_unique
        # who ends makes room for who starts at the same moment
        times = np.concatenate([trips.end_s, trips.start_s])
        change = np.concatenate([np.full(len(trips), -1), np.full(len(trips), 1)])
        under_way = change[np.lexsort((change, times))].cumsum()
        assert under_way.max() <= UNDER_WAY[ended.policy]
        assert under_way[-1] == 0


def test_a_client_pays_for_what_has_changed_since_it_last_downloaded(ended: Ended) -> None:
    for method in ("fedavg", "fedbt"):
        trips = ended.run.trips[ended.run.trips.method == method]
        rounds = ended.run.rounds[ended.run.rounds.method == method]
        names, version, begun, phase = ended.sizes[method, "finetune"], dict[str, int](), {}, ""
        for row in rows(rounds):
            if row.phase != phase:
                version["head"], phase = version.get("head", 0) + 1, row.phase  # a phase has a head of its own
            begun[row.round] = dict(version)
            for name in row.trained_groups.split():
                version[name] = version.get(name, 0) + 1
        spared = 0
        for _, own in trips.sort_values(["start_s", "end_s"]).groupby("client"):
            held: dict[str, int] = {}
            for trip in rows(own):
                sent = {name: begun[trip.round - trip.staleness].get(name, 0) for name in names}
                lacks = [name for name in names if held.get(name) != sent[name]]
                sizes = ended.sizes[method, trip.phase]
                assert trip.price_download_bytes == sum(sizes[name] for name in lacks)
                assert trip.download_bytes <= trip.price_download_bytes
                spared += len(names) - len(lacks)
                if trip.download_bytes == trip.price_download_bytes:
                    held = sent
        assert spared > 0 or method == "fedavg"
