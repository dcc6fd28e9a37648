"""Every kind of fault: told in the trace, found by the checks that all updates go through, and no mark on the model."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedsim
from fedsim.clock.trips import Outcome, durations
from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.errors import ClientError, FedsimError, UserError
from fedsim.faults import NONE, Faults, check
from fedsim.methods.registry import kinds
from fedsim.observe.observer import Silent
from fedsim.scenario import faults as specs
from fedsim.scenario.schema import Scenario
from fedsim.store.atomic import Array
from fedsim.store.checkpoint import load_latest
from fedsim.wire import checksum
from tests import runs
from tests.clock import cohorts
from tests.runs import CLIENTS, METHODS, Dying, Killed, Lent, hashes, small

Pools = Callable[[int], RayEngine]
TRAINED = {name: METHODS[name] for name in ("fedavg", "fedbt", "split")}
"""`split` is FedSplitBERT, whose updates are integers of 8 bits."""
POLICIES: dict[str, dict[str, Any]] = {
    "synchronous": {"clients_per_round": CLIENTS},
    "buffered": {"clients_per_round": 3, "policy": {"kind": "buffered", "concurrency": CLIENTS}},
    "asynchronous": {"clients_per_round": 1, "policy": {"kind": "asynchronous", "concurrency": CLIENTS}},
    "tiered": {"clients_per_round": 4, "policy": {"kind": "tiered", "tiers": 2}},
}
"""Participation under every policy; another one is another entry."""
ROUND = 1
"""The one round in which something goes wrong."""
FAULTS: dict[str, dict[str, Any]] = {
    "crash": {"kind": "crash", "at": 0.25},
    "crash in the upload": {"kind": "crash", "leg": "upload", "at": 0.95},
    "slow": {"kind": "slow", "factor": 3.0},
    "error": {"kind": "error"},
    "nan": {"kind": "nan"},
    "inf": {"kind": "inf"},
    "wrong_shape": {"kind": "wrong_shape"},
    "corrupted": {"kind": "corrupted", "bits": 3},
}
"""The fault of each client; what is duplicated is in a run of its own."""
ENDS = {
    "crash": ("dropped", "crash: at 0.25 in the trip"),
    "crash in the upload": ("dropped", "crash: at 0.95 in the upload"),
    "slow": ("completed", "slow: computing took 3 times as long"),
    "error": ("failed", "error: RuntimeError: local training was made to fail"),
    "nan": ("rejected", "nan: update is not finite"),
    "inf": ("rejected", "inf: update is not finite"),
    "wrong_shape": ("rejected", "wrong_shape: update has a group of the wrong shape"),
    "corrupted": ("rejected", "corrupted: payload does not match its checksum"),
}
CLIENT = {name: client for client, name in enumerate(FAULTS)}
assert len(CLIENT) == CLIENTS


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def raw(faults: list[dict[str, Any]], policy: str = "synchronous", **changes: Any) -> dict[str, Any]:
    """All clients in every round of one phase."""
    participation = {**POLICIES[policy], "max_empty_rounds": 20}
    return small(
        TRAINED,
        phases__finetune=None,
        phases__further_pretrain__participation=participation,
        faults=faults,
        **{"engine__max_failed_fraction": 0.25, "engine__max_rejected_fraction": 0.75, **changes},
    )


def one_each() -> dict[str, Any]:
    """Every client has a fault of its own in one round."""
    struck = {"rounds": [ROUND, ROUND]}
    return raw([{**fault, "clients": [CLIENT[name]], **struck} for name, fault in FAULTS.items()])


def always(policy: str) -> dict[str, Any]:
    """Every client has a fault of its own whenever it takes part."""
    faults = [{**fault, "clients": [CLIENT[name]]} for name, fault in FAULTS.items()]
    bounds: dict[str, Any] = {"engine__max_failed_fraction": 1.0, "engine__max_rejected_fraction": 1.0}
    rounds = 12 if policy == "asynchronous" else 6
    # devices that are much alike, with as little work: even the slowest come back before the run ends
    fleet = {"devices": {"phone_mid": 1}, "networks": {"wifi": 1}, "bandwidth_sigma": 0.1, "kind": "catalog"}
    return raw(
        faults,
        policy,
        phases__further_pretrain__rounds=rounds,
        phases__further_pretrain__local={"max_batches": 1, "optimizer": {"learning_rate": 1e-3}},
        fleet__source=fleet,
        **bounds,
    )


@pytest.fixture(scope="module")
def broken(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faults")
    runs.run(one_each(), world, out / "run", observer=(notes := Notes()))
    (out / "notes").write_text("\n".join(notes.texts), encoding="utf-8")
    runs.run(one_each(), world, out / "price", None)
    return out


@pytest.fixture(
    scope="module", params=["buffered", *(pytest.param(n, marks=pytest.mark.slow) for n in POLICIES if n != "buffered")]
)
def played(request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("played")
    runs.run(always(request.param), world, out / "run")
    return request.param, out / "run"


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("method", TRAINED)
def test_under_any_policy_every_trip_ends_as_its_fault_says(played: tuple[str, Path], name: str, method: str) -> None:
    _, out = played
    table = trips(out, method)
    own = table[table.client == CLIENT[name]]
    # who was under way when the run ended, or was too old, has met nothing that can be told of
    ended = own[~own.outcome.isin(["late", "unused"])]
    assert len(ended) > 0
    assert set(zip(ended.outcome, ended.cause, strict=True)) == {ENDS[name]}
    told = {ENDS[name][1]} if name == "slow" else set()
    assert set(own.cause[own.outcome.isin(["late", "unused"])].dropna()) <= told
    assert all(np.isfinite(values).all() for values in groups(out, method).values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(kinds()) - {"centralized"}))
def test_every_method_meets_the_same_faults(kind: str, world: Path, tmp_path: Path) -> None:
    options = {
        "heterofl": {"rates": [0.5, 1.0]},
        "head_pruning": {"phase": "further_pretrain", "after_rounds": 2},
    }
    found = always("synchronous")
    found["methods"] = {kind: options.get(kind, {})}
    found["phases"]["further_pretrain"]["rounds"] = 8
    if kind == "scaffold":
        found["phases"]["further_pretrain"]["local"]["optimizer"] = {"kind": "sgd", "learning_rate": 0.01}
    runs.run(found, world, tmp_path / "run")
    table = trips(tmp_path / "run", kind)
    told = set(zip(table.client, table.outcome, table.cause, strict=True))
    assert told == {(client, *ENDS[name]) for name, client in CLIENT.items()}
    assert all(np.isfinite(values).all() for values in groups(tmp_path / "run", kind).values())
    if kind != "head_pruning":  # what is pruned cannot be known without training
        runs.run(found, world, tmp_path / "price", None)
        price = trips(tmp_path / "price", kind).drop(columns="loss")
        pd.testing.assert_frame_equal(table.drop(columns="loss"), price)


def test_under_any_policy_a_price_shows_the_same(played: tuple[str, Path], world: Path, tmp_path: Path) -> None:
    policy, out = played
    runs.run(always(policy), world, tmp_path / "price", None)
    for method in TRAINED:
        found, price = (trips(one, method).drop(columns="loss") for one in (out, tmp_path / "price"))
        pd.testing.assert_frame_equal(found.reset_index(drop=True), price.reset_index(drop=True))


@pytest.mark.parametrize(
    "policy", ["buffered", *(pytest.param(n, marks=pytest.mark.slow) for n in ("asynchronous", "tiered"))]
)
def test_resumed_with_struck_clients_under_way(world: Path, tmp_path: Path, policy: str) -> None:
    one = always(policy)
    one["methods"] = {"fedbt": {}}
    whole = hashes(runs.run(one, world, tmp_path / "whole"))
    with pytest.raises(Killed):
        runs.run(one, world, tmp_path / "run", lambda: Dying(InlineEngine(), 12))
    assert hashes(runs.resume(tmp_path / "run")) == whole


@cache
def trips(out: Path, method: str) -> pd.DataFrame:
    table = fedsim.read_run(out).trips
    return table[table.method == method].astype({"cause": object, "outcome": str})


def groups(out: Path, method: str) -> dict[str, Array]:
    state = load_latest(out / "checkpoints" / method)
    assert state is not None
    return {name: array for name, array in state.arrays.items() if name.startswith("group/")}


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_in_the_trace(broken: Path, name: str, method: str) -> None:
    table = trips(broken / "run", method)
    client, (outcome, cause) = CLIENT[name], ENDS[name]
    (row,) = runs.rows(table[(table.client == client) & (table["round"] == ROUND)])
    assert (row.outcome, row.cause, row.useful) == (outcome, cause, outcome == "completed")
    assert (row.weight > 0) == (outcome == "completed")
    assert row.repeated_upload_bytes == 0
    others = table[(table.client == client) & (table["round"] != ROUND)]
    assert set(others.outcome) == {"completed"}
    assert others.cause.isna().all()
    arrived = outcome in ("completed", "failed", "rejected")
    assert (row.upload_bytes == row.price_upload_bytes) == arrived
    if name == "crash":
        whole_s = others.download_s + others.compute_s + others.upload_s
        assert row.end_s - row.start_s < 0.26 * whole_s.max()
    if name == "crash in the upload":
        assert row.flops_backward == row.price_flops_backward
        assert 0 < row.upload_bytes < row.price_upload_bytes
    if name == "slow":
        flops = row.price_flops_forward + row.price_flops_backward
        assert row.compute_s / flops == pytest.approx(
            3 * float((others.compute_s / (others.flops_forward + others.flops_backward)).iloc[0]), rel=1e-9
        )


@pytest.mark.parametrize("method", TRAINED)
def test_the_trace_adds_up(broken: Path, method: str) -> None:
    run = fedsim.read_run(broken / "run")
    rounds = run.rounds[run.rounds.method == method].set_index("round")
    table = trips(broken / "run", method)
    for column in ("download_bytes", "upload_bytes", "flops_forward", "flops_backward", "repeated_upload_bytes"):
        assert rounds[column].to_dict() == table.groupby("round")[column].sum().to_dict()
    wasted = table[~table.useful].groupby("round").upload_bytes.sum()
    assert rounds.wasted_upload_bytes[ROUND] == wasted[ROUND] > 0
    counts = table[table["round"] == ROUND].outcome.value_counts()
    assert {outcome: rounds[outcome.value][ROUND] for outcome in Outcome if outcome in counts} == counts.to_dict()
    assert counts.sum() == rounds.cohort[ROUND] == CLIENTS


@pytest.mark.parametrize("method", TRAINED)
def test_a_price_shows_the_same_faults(broken: Path, method: str) -> None:
    found, price = (trips(broken / kind, method).drop(columns="loss") for kind in ("run", "price"))
    pd.testing.assert_frame_equal(found.reset_index(drop=True), price.reset_index(drop=True))


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("name", [name for name, (outcome, _) in ENDS.items() if outcome in ("failed", "rejected")])
def test_a_failing_client_is_named_in_one_message(broken: Path, name: str, method: str) -> None:
    cause = ENDS[name][1].split(": ", 1)[1]
    notes = (broken / "notes").read_text(encoding="utf-8").splitlines()
    told = [text for text in notes if f"client {CLIENT[name]} failed in {method}," in text]
    assert told == [f"client {CLIENT[name]} failed in {method}, stage {_stage(broken, method)}, round {ROUND}: {cause}"]


def _stage(broken: Path, method: str) -> int:
    table = trips(broken / "run", method)
    return int(table[table["round"] == ROUND].stage.iloc[0])


def test_the_model_is_that_of_the_others(world: Path, tmp_path: Path, broken: Path) -> None:
    # the slow one counts; without the struck ones the mean is over it alone, in that round
    cohort = [list(range(CLIENTS)), [CLIENT["slow"]], list(range(CLIENTS))]
    without = raw([])
    without["phases"]["further_pretrain"]["participation"]["cohorts"] = cohort
    runs.run(without, world, tmp_path / "without")
    for method in TRAINED:
        found, wanted = groups(broken / "run", method), groups(tmp_path / "without", method)
        assert found.keys() == wanted.keys()
        for name, values in found.items():
            assert np.isfinite(values).all()
            assert np.abs(values - wanted[name]).max() < 1e-6, (method, name)


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_hosts_do_not_matter(world: Path, tmp_path: Path, broken: Path, pools: Pools, hosts: int) -> None:
    here = fedsim.read_run(broken / "run").summary
    engine = lambda: Lent(pools(hosts), str(tmp_path))  # noqa: E731
    assert hashes(runs.run(one_each(), world, tmp_path / "run", engine)) == hashes(here)


@pytest.mark.slow
def test_resumed_in_the_round_of_the_faults(world: Path, tmp_path: Path, broken: Path) -> None:
    with pytest.raises(Killed):
        runs.run(one_each(), world, tmp_path / "run", lambda: Dying(InlineEngine(), 14))
    assert hashes(runs.resume(tmp_path / "run")) == hashes(fedsim.read_run(broken / "run").summary)


@pytest.mark.slow
def test_what_is_delivered_twice_counts_once(world: Path, tmp_path: Path) -> None:
    twice = raw([{"kind": "duplicated", "clients": [2, 5], "rounds": [ROUND, ROUND]}])
    once = raw([])
    for one in (twice, once):  # whoever meets a fault is trained alone, which rounds otherwise than side by side
        one["engine"] = {**one.get("engine", {}), "stacked": "never"}
    runs.run(twice, world, tmp_path / "twice")
    runs.run(once, world, tmp_path / "once")
    runs.run(twice, world, tmp_path / "price", None)
    for method in TRAINED:
        found, plain, price = (trips(tmp_path / name, method) for name in ("twice", "once", "price"))
        for name, values in groups(tmp_path / "twice", method).items():
            assert np.array_equal(values, groups(tmp_path / "once", method)[name])
        struck = found.client.isin([2, 5]) & (found["round"] == ROUND)
        assert found.outcome.eq("completed").all()
        assert found.weight.tolist() == plain.weight.tolist()
        assert set(found.cause[struck]) == {"duplicated: delivered twice"}
        assert found.cause[~struck].isna().all()
        assert found.repeated_upload_bytes.tolist() == np.where(struck, plain.upload_bytes, 0).tolist()
        assert (found.upload_bytes - found.repeated_upload_bytes).tolist() == plain.upload_bytes.tolist()
        assert (found.energy_j[struck] > plain.energy_j[struck]).all()
        pd.testing.assert_frame_equal(found.drop(columns="loss"), price.drop(columns="loss"))
        rounds = fedsim.read_run(tmp_path / "twice").rounds
        (row,) = runs.rows(rounds[(rounds.method == method) & (rounds["round"] == ROUND)])
        assert row.wasted_upload_bytes == row.repeated_upload_bytes == found.repeated_upload_bytes.sum() > 0


@pytest.mark.parametrize(("kind", "status"), [("nan", "rejected"), ("error", "failed")])
@pytest.mark.parametrize("engine", [InlineEngine, None], ids=["trained", "priced"])
def test_a_run_ends_where_its_budget_does(
    world: Path, tmp_path: Path, kind: str, status: str, engine: type[InlineEngine] | None
) -> None:
    told = f"3 of 8 updates {status}; engine.max_{status}_fraction allows 0.25"
    faults: list[dict[str, Any]] = [
        {"kind": kind, "clients": [1, 6], "rounds": [0, 0]},
        {"kind": kind, "clients": [1, 4, 6], "rounds": [1, 1]},
    ]
    bound: dict[str, Any] = {f"engine__max_{status}_fraction": 0.25}
    bounded = raw(faults, **bound)
    with pytest.raises(ClientError, match=told) as caught:
        runs.run(bounded, world, tmp_path / "run", engine, methods=["fedavg"])
    assert (caught.value.method, caught.value.round, caught.value.client) == ("fedavg", 1, 1)


def test_a_round_without_any_usable_update_leaves_the_model_as_it_was(world: Path, tmp_path: Path) -> None:
    nothing = raw([{"kind": "inf", "rounds": [1, 2]}], engine__max_rejected_fraction=1.0)
    runs.run(nothing, world, tmp_path / "run", methods=["fedavg"])
    once = raw([], phases__further_pretrain__rounds=1)
    runs.run(once, world, tmp_path / "once", methods=["fedavg"])
    found, wanted = (groups(tmp_path / name, "fedavg") for name in ("run", "once"))
    assert all(np.array_equal(values, wanted[name]) for name, values in found.items())
    table = trips(tmp_path / "run", "fedavg")
    assert set(table[table["round"] > 0].outcome) == {"rejected"}
    assert set(table[table["round"] > 0].weight) == {0.0}


@pytest.mark.parametrize("kind", ["nan", "corrupted"])
def test_a_fault_that_nobody_notices_ends_the_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # as if the server did not look
    monkeypatch.setattr(torch, "isfinite", lambda values: torch.ones_like(values, dtype=torch.bool))
    monkeypatch.setattr(checksum, "intact", lambda payload, sealed: True)
    with pytest.raises(FedsimError, match=f"client 3: {kind} was to be found, and was not"):
        runs.run(raw([{"kind": kind, "clients": [3]}]), world, tmp_path / "run", methods=["fedavg"])


# -- who is struck


def listed(*faults: Mapping[str, Any], seed: int = 5) -> Faults:
    scenario = Scenario.model_validate(small({"fedavg": {}}, faults=list(faults), fleet__clients=2000))
    return Faults(scenario.faults, seed)


FLEET = cohorts.fleet([1.0] * 2000)
EVERYBODY = np.arange(2000)


def struck(faults: Faults, clients: "np.typing.NDArray[np.int64]" = EVERYBODY, round_: int = 0) -> list[int]:
    found: list[int] = faults.strike(clients, FLEET.take(clients), "finetune", round_, round_).tolist()
    return found


def test_a_client_has_the_same_fate_whoever_else_takes_part() -> None:
    faults = listed({"kind": "nan", "probability": 0.3}, {"kind": "crash", "probability": 0.3})
    everybody = struck(faults)
    assert struck(faults, np.array([7, 1900, 3])) == [everybody[7], everybody[1900], everybody[3]]
    assert struck(faults, round_=1) != everybody


def test_as_many_are_struck_as_is_probable_and_the_first_fault_goes_before_the_others() -> None:
    found = np.array(struck(listed({"kind": "nan", "probability": 0.3}, {"kind": "crash", "probability": 0.5})))
    # four standard deviations of a binomial number
    assert abs((found == 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)
    assert abs((found == 1).mean() - 0.7 * 0.5) < 4 * np.sqrt(0.35 * 0.65 / 2000)
    assert set(found) == {NONE, 0, 1}


def test_a_budget_limits_a_round_and_strikes_anybody() -> None:
    faults = listed({"kind": "nan", "probability": 0.5, "budget": 10})
    unlucky = [frozenset(np.flatnonzero(np.array(struck(faults, round_=r)) == 0).tolist()) for r in range(40)]
    assert {len(one) for one in unlucky} == {10}
    assert len(frozenset[int]().union(*unlucky)) > 300
    few = listed({"kind": "nan", "clients": [3, 4], "budget": 10})
    assert np.flatnonzero(np.array(struck(few)) == 0).tolist() == [3, 4]


def test_rounds_clients_and_devices_are_chosen() -> None:
    faults = listed({"kind": "nan", "clients": [4, 9, 11], "rounds": [2, 3], "device": "device"})
    found = [np.flatnonzero(np.array(struck(faults, round_=r)) == 0).tolist() for r in range(5)]
    assert found == [[], [], [4, 9, 11], [4, 9, 11], []]


def test_a_class_that_the_fleet_does_not_have() -> None:
    faults = listed({"kind": "nan"}, {"kind": "slow", "factor": 2.0, "device": "devise"})
    with pytest.raises(UserError, match="did you mean 'device'") as caught:
        check(faults.listed, FLEET)
    assert caught.value.key == "faults.1.device"
    check(faults.listed[:1], FLEET)


def test_a_crash_is_a_time_and_a_slow_device_a_speed() -> None:
    faults = listed(
        {"kind": "crash"},
        {"kind": "crash", "at": 0.1},
        {"kind": "crash", "leg": "download"},
        {"kind": "crash", "leg": "training", "at": 0.75},
        {"kind": "crash", "leg": "upload", "at": 0.0},
        {"kind": "slow", "factor": 4.0},
    )
    fleet = cohorts.fleet([10.0] * 7)
    prices = cohorts.prices(7, download_bytes=20, flops_forward=400, upload_bytes=40)
    struck = np.array([0, 1, 2, 3, 4, 5, NONE])
    slow = faults.slowed(struck, fleet)
    assert slow.flops_per_s.tolist() == [10.0] * 5 + [2.5, 10.0]
    # 20 s down, 40 s of training (160 s of the slow one), 40 s up
    crash_s = faults.crash_s(struck, durations(prices, slow))
    assert crash_s.tolist() == pytest.approx([50.0, 10.0, 10.0, 50.0, 60.0, np.inf, np.inf])
    assert faults.slowed(struck[:5], fleet.take(np.arange(5))) is not slow


def test_only_what_a_host_does_is_told_to_it() -> None:
    faults = listed(
        {"kind": "crash"}, {"kind": "slow", "factor": 2.0}, {"kind": "corrupted", "bits": 7}, {"kind": "nan"}
    )
    told = [faults.sabotage(index) for index in (NONE, 0, 1, 2, 3)]
    assert [None if one is None else (one.kind, one.bits) for one in told] == [
        *(None, None, None),
        ("corrupted", 7),
        ("nan", 0),
    ]


def test_every_kind_is_tested() -> None:
    kinds = {own.model_fields["kind"].default for own in specs.Fault.__subclasses__()}
    assert kinds == {fault["kind"] for fault in FAULTS.values()} | {"duplicated"}
