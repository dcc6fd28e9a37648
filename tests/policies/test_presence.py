"""Who is there starts; who leaves or vanishes is dropped then; and a round without anybody passes in virtual time."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fedsim
from fedsim import rng
from fedsim.errors import FedsimError, UserError
from fedsim.fleet.dropout import Dropout
from tests import runs
from tests.command import Desk
from tests.policies.worlds import devices, played, priced

PARTS: dict[str, dict[str, Any]] = {
    "synchronous": {"clients_per_round": 3},
    "buffered": {"clients_per_round": 2, "policy": {"kind": "buffered", "concurrency": 4}},
    "asynchronous": {"clients_per_round": 1, "policy": {"kind": "asynchronous", "concurrency": 3}},
    "tiered": {"clients_per_round": 2, "policy": {"kind": "tiered", "tiers": 2}},
}
PERIOD_S = 50.0


def recorded(folder: Path, there: Sequence[tuple[int, float, float]], name: str = "there.csv") -> dict[str, Any]:
    """Availability of these intervals: client, start, end."""
    lines = [f"{client},{start},{end}" for client, start, end in there]
    (folder / name).write_text("\n".join(["client,start_s,end_s", *lines]) + "\n")
    return {"kind": "intervals", "path": name, "period_s": PERIOD_S}


def until(there: Sequence[tuple[int, float, float]], client: int, now_s: float) -> float:
    """When a client that is there leaves; NaN: it is not there."""
    for own, start, end in there:
        for turn in range(int(now_s // PERIOD_S) + 1):
            if own == client and start <= now_s - turn * PERIOD_S < end:
                return end + turn * PERIOD_S
    return math.nan


INTERVALS = [(client, 3.0 * client, 3.0 * client + 13) for client in range(8)]


@pytest.mark.parametrize("policy", PARTS)
def test_who_starts_is_there_and_who_leaves_is_dropped_at_that_moment(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [2.0, 9.0, 4.0, 8.0, 3.0, 10.0, 5.0, 7.0])
    raw = priced(PARTS[policy], fleet__availability=recorded(tmp_path, INTERVALS))
    trips = played(raw, tmp_path, tmp_path / "run").trips
    leaves = [until(INTERVALS, c, s) for c, s in zip(trips.client, trips.start_s, strict=True)]
    assert not np.isnan(leaves).any()
    dropped = trips.outcome == "dropped"
    assert 0 < dropped.sum() < len(trips)
    whole_s = trips.client.map(dict(enumerate([2.0, 9.0, 4.0, 8.0, 3.0, 10.0, 5.0, 7.0])))
    np.testing.assert_allclose(trips.end_s[dropped], np.array(leaves)[dropped], rtol=1e-12)
    assert (trips.end_s <= np.array(leaves) + 1e-9).all()
    completed = trips.outcome == "completed"
    np.testing.assert_allclose((trips.end_s - trips.start_s)[completed], whole_s[completed], rtol=1e-6)
    assert (trips.upload_bytes[dropped] == 0).all()
    assert (trips.flops_forward[dropped] < trips.price_flops_forward[dropped]).all()


@pytest.mark.slow
@pytest.mark.parametrize("policy", PARTS)
def test_who_must_stay_never_leaves(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [2.0, 9.0, 4.0, 8.0, 3.0, 10.0, 5.0, 7.0])
    part = {**PARTS[policy], "selection": {"kind": "uniform", "stay": True}}
    for kind in (recorded(tmp_path, INTERVALS), {"kind": "markov", "day": {"available_s": 9.0, "away_s": 6.0}}):
        run = played(priced(part, fleet__availability=kind), tmp_path, tmp_path / str(kind["kind"]))
        assert "dropped" not in set(run.trips.outcome)
        assert run.rounds.completed.sum() >= 10
        without = played(priced(PARTS[policy], fleet__availability=kind), tmp_path, tmp_path / f"not {kind['kind']}")
        assert "dropped" in set(without.trips.outcome)


def test_trips_survive_with_the_exponential_of_hazard_times_length(tmp_path: Path) -> None:
    lengths = [1.0, 3.0] * 150
    devices(tmp_path, lengths)
    raw = priced({"clients_per_round": 300}, rounds=12, fleet__clients=300, fleet__dropout={"per_s": 0.4})
    trips = played(raw, tmp_path, tmp_path / "run").trips
    for parity, length in ((0, 1.0), (1, 3.0)):
        own = trips[trips.client % 2 == parity]
        share = math.exp(-0.4 * length)
        error = math.sqrt(share * (1 - share) / len(own))
        assert abs((own.outcome == "completed").mean() - share) < 4 * error
    dropout = Dropout(np.full(300, 0.4), 5)
    each = zip(trips.client.tolist(), trips["round"].tolist(), strict=True)
    lives = np.array([dropout.lifetime_s(np.array([c]), "further_pretrain", r)[0] for c, r in each])
    gone = trips.outcome == "dropped"
    np.testing.assert_allclose((trips.end_s - trips.start_s)[gone], lives[gone], rtol=1e-9)
    assert (lives[~gone] >= (trips.end_s - trips.start_s)[~gone] - 1e-9).all()


@pytest.mark.parametrize("policy", PARTS)
def test_a_round_without_anybody_closes_when_somebody_comes(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    there = [(client, 20.0, 40.0) for client in range(8)]
    run = played(
        priced(PARTS[policy], rounds=60, fleet__availability=recorded(tmp_path, there)), tmp_path, tmp_path / "run"
    )
    assert run.trips.start_s.min() == 20.0
    assert ((run.trips.start_s % PERIOD_S >= 20.0) & (run.trips.start_s % PERIOD_S < 40.0)).all()
    assert run.rounds.end_s.iloc[-1] > PERIOD_S + 20.0 or policy in ("buffered", "asynchronous")
    stage = run.stages.first_round.iloc[0]
    assert stage == run.trips["round"].min()


def test_an_empty_round_closes_at_the_deadline(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    there = recorded(tmp_path, [(client, 20.0, 40.0) for client in range(8)])
    part = {"clients_per_round": 3, "deadline_s": 8.0}
    rounds = played(priced(part, rounds=4, fleet__availability=there), tmp_path, tmp_path / "run").rounds
    assert rounds.end_s[:3].tolist() == [8.0, 16.0, 20.0]
    assert rounds.cohort.tolist() == [0, 0, 0, 3]


@pytest.mark.parametrize("policy", PARTS)
def test_a_run_in_which_nobody_comes_back_is_stopped(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [1000.0] * 8)
    part = {**PARTS[policy], "max_empty_rounds": 3}
    raw = priced(part, fleet__dropout={"per_s": 1.0})
    with pytest.raises(FedsimError, match=r"round 2: no usable update in 3 rounds in a row; in this one: .*dropped"):
        runs.run(raw, tmp_path, tmp_path / "run", None)


@pytest.mark.parametrize("policy", PARTS)
def test_a_run_in_which_nobody_has_the_memory_is_stopped(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8, memory_bytes=[1000] * 7 + [10**9], flops_per_s=[1e6] * 7 + [1.0])
    raw = priced({**PARTS[policy], "max_empty_rounds": 2}, fleet__dropout={"per_s": 1.0})
    with pytest.raises(FedsimError, match=r"no usable update in 2 rounds in a row; in this one: .* out_of_memory"):
        runs.run(raw, tmp_path, tmp_path / "run", None)


def test_nobody_is_ever_there(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    there = recorded(tmp_path, [(0, 20.0, 40.0)])
    raw = priced({"clients_per_round": 2}, fleet__availability={
        "kind": "all_of",
        "conditions": {"one": there, "other": recorded(tmp_path, [(0, 41.0, 42.0)], "late.csv")},
    })  # fmt: skip
    with pytest.raises(UserError, match="never lets more than 0 devices take part") as error:
        runs.run(raw, tmp_path, tmp_path / "run", None)
    assert error.value.key == "phases.further_pretrain.participation.clients_per_round"


@pytest.mark.slow
def test_a_step_is_made_without_those_who_never_come(tmp_path: Path) -> None:
    devices(tmp_path, [1.0, 2.0, 3.0, 40.0] + [1.0] * 4)
    there = recorded(tmp_path, [(client, 0.0, 30.0 if client < 4 else 1.0) for client in range(8)])
    late = recorded(tmp_path, [(client, 1.0 if client > 3 else 0.0, 31.0) for client in range(8)], "late.csv")
    part = {"clients_per_round": 4, "policy": {"kind": "buffered", "concurrency": 4}}
    both = {"kind": "all_of", "conditions": {"one": there, "other": late}}
    rounds = played(priced(part, rounds=2, fleet__availability=both), tmp_path, tmp_path / "run").rounds
    assert rounds.completed.tolist() == [3, 3]
    assert rounds.dropped.tolist() == [1, 1]
    assert rounds.end_s.tolist() == [30.0, 80.0]


def test_a_tier_that_waits_for_its_clients_leaves_the_others_alone(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 4 + [2.0] * 4)
    there = [(client, 0.0, PERIOD_S) for client in range(4)] + [(client, 30.0, 49.0) for client in range(4, 8)]
    run = played(priced(PARTS["tiered"], fleet__availability=recorded(tmp_path, there)), tmp_path, tmp_path / "run")
    assert (run.rounds.completed == 2).all()
    assert run.rounds.end_s.iloc[-1] == pytest.approx(20.0, rel=1e-6)
    assert set(run.trips.client) == {0, 1, 2, 3}


def test_tiers_of_equal_devices_are_of_equal_size(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    run = played(priced(PARTS["tiered"], rounds=12), tmp_path, tmp_path / "run")
    assert (run.rounds.completed == 2).all()
    parts = [frozenset(own.client) for _, own in run.trips[run.trips.useful].groupby("round")]
    one = frozenset().union(*(part for part in parts if part & parts[0]))
    assert len(one) == 4
    assert all(part <= one or not part & one for part in parts)


def test_what_ends_at_the_same_moment_ends_before_anybody_starts(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    part = {"clients_per_round": 2, "policy": {"kind": "buffered", "concurrency": 4}}
    run = played(priced(part, rounds=6), tmp_path, tmp_path / "run")
    # four start together, so that two steps follow at the same moment, the second one step stale
    assert run.rounds.end_s.tolist() == pytest.approx([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], rel=1e-6)
    useful = run.trips[run.trips.useful]
    assert useful.groupby("round").staleness.unique().map(list).tolist() == [[0], [1], [0], [1], [0], [1]]


# --- who is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["synchronous", "buffered", "asynchronous"])
def test_in_turn_goes_round(policy: str, tmp_path: Path) -> None:
    devices(tmp_path, [1.0, 4.0, 2.0, 3.0, 1.5, 2.5, 5.0, 1.2])
    raw = priced({**PARTS[policy], "selection": {"kind": "in_turn"}}, rounds=16)
    trips = played(raw, tmp_path, tmp_path / "run").trips
    counts = trips.client.value_counts()
    assert counts.max() - counts.min() <= (1 if policy == "synchronous" else 2)
    starts = trips.sort_values("start_s", kind="stable")
    if policy == "synchronous":
        assert set(starts.client[:8]) | set(starts.client[8:9]) == set(range(8))


@pytest.mark.slow
def test_by_samples_clients_come_as_often_as_their_shares(tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 4)
    raw = priced(
        {"clients_per_round": 1, "selection": {"kind": "samples"}},
        rounds=600,
        fleet__clients=4,
        data__corpus__samples_per_client=[1, 2, 3, 6],
    )
    counts = played(raw, tmp_path, tmp_path / "run").trips.client.value_counts()
    for client, weight in enumerate([1, 2, 3, 6]):
        share = weight / 12
        assert abs(counts[client] / 600 - share) < 4 * math.sqrt(share * (1 - share) / 600)


@pytest.mark.parametrize(
    "how", [{"kind": "power_of_choice", "candidates": 4}, {"kind": "oort"}], ids=lambda how: how["kind"]
)
def test_losses_have_no_price(how: dict[str, Any], tmp_path: Path) -> None:
    devices(tmp_path, [1.0] * 8)
    with pytest.raises(UserError, match=f"is {how['kind']}, which looks at losses that clients report") as error:
        runs.run(priced({"clients_per_round": 3, "selection": how}), tmp_path, tmp_path / "run", None)
    assert error.value.key == "phases.further_pretrain.participation.selection"
    assert not (tmp_path / "run").exists()


def test_power_of_choice_takes_those_with_the_highest_losses(world: Path, tmp_path: Path) -> None:
    part = {"clients_per_round": 3, "selection": {"kind": "power_of_choice", "candidates": 8}}
    raw = runs.small({"fedavg": {}}, phases__further_pretrain__participation=part, phases__finetune=None)
    raw["phases"]["further_pretrain"]["rounds"] = 6
    runs.run(raw, world, tmp_path / "run")
    loss: dict[int, float] = {}
    for _, trips in fedsim.read_run(tmp_path / "run").trips.groupby("round"):
        known = sorted(loss.values(), reverse=True)
        unheard = 8 - len(loss)
        wanted = set(trips.client)
        assert len(wanted - loss.keys()) == min(3, unheard)
        assert sorted((loss[c] for c in wanted & loss.keys()), reverse=True) == known[: 3 - min(3, unheard)]
        loss |= dict(zip(trips.client, trips.loss, strict=True))
    assert len(loss) == 8


def test_the_command_says_why_nobody_came_back(work: Desk) -> None:
    devices(work.folder, [1.0] * 8)
    raw = priced({"clients_per_round": 3}, fleet__dropout={"per_s": 1000.0})
    (work.folder / "mine.yaml").write_text(yaml.safe_dump(raw))
    ended = work.run("scenario", "mine.yaml", "--price", "--out", "priced")
    assert ended.code == 1
    assert ended.err.count("no usable update in 10 rounds in a row") == 1
    assert "max_empty_rounds" in ended.err
    assert "Traceback" not in ended.err


def test_random_fates_do_not_depend_on_who_else_takes_part() -> None:
    own = Dropout(np.full(10, 0.1), 3)
    alone = own.lifetime_s(np.array([4]), "finetune", 2)
    assert own.lifetime_s(np.arange(10), "finetune", 2)[4] == alone[0]
    assert alone[0] == -math.log(rng.field(3, "dropout", "finetune", 2).at(np.array([4]))[0][0]) / 0.1
