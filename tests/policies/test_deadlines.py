"""Deadlines and closing times of whole rounds against their closed forms."""

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from fedsim import rng
from tests.policies.worlds import devices, played, priced


def test_a_quantile_of_a_log_normal_fleet(tmp_path: Path) -> None:
    clients, sigma, q = 400, 0.8, 0.9
    seconds = np.exp(sigma * rng.stream(1, "seconds").standard_normal(clients))
    devices(tmp_path, seconds.tolist())
    part = {"clients_per_round": 100, "deadline_quantile": q}
    rounds = played(priced(part, rounds=30, fleet__clients=clients), tmp_path, tmp_path / "run").rounds
    # the deadline is somebody's own, who is still in time: of a hundred, ninety are back by then
    assert (rounds.completed == 90).all()
    assert (rounds.late == 10).all()
    ends_s = math.exp(sigma * NormalDist().inv_cdf(q))
    density = NormalDist(0.0, sigma).pdf(math.log(ends_s)) / ends_s
    error_s = math.sqrt(q * (1 - q)) / density
    found = (rounds.end_s - rounds.start_s).mean()
    # of the fleet as it was drawn, and of thirty cohorts out of it
    assert abs(found - ends_s) < 4 * error_s * math.sqrt(1 / clients + 1 / 3000)


def test_one_client_and_equal_clients(tmp_path: Path) -> None:
    devices(tmp_path, [2.0] * 8)
    for count in (1, 8):
        part = {"clients_per_round": count}
        run = played(priced(part, rounds=3), tmp_path, tmp_path / str(count))
        assert len(set((run.trips.download_s + run.trips.compute_s + run.trips.upload_s).tolist())) == 1
        assert run.rounds.end_s.tolist() == pytest.approx([2.0, 4.0, 6.0], rel=1e-6)
        assert (run.rounds.end_s == run.trips.groupby("round").end_s.max()).all()


def test_the_slowest_of_all_closes_a_round_and_the_first_wanted_with_over_selection(tmp_path: Path) -> None:
    seconds = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    devices(tmp_path, seconds)
    everybody = played(priced({"clients_per_round": 8}, rounds=2), tmp_path, tmp_path / "all")
    assert everybody.rounds.end_s.tolist() == pytest.approx([8.0, 16.0], rel=1e-6)
    part = {"clients_per_round": 5, "over_selection": 1.6}
    first = played(priced(part, rounds=2), tmp_path, tmp_path / "first")
    assert first.rounds.end_s.tolist() == pytest.approx([5.0, 10.0], rel=1e-6)
    assert set(first.trips.client[first.trips.outcome == "late"]) == {5, 6, 7}


def test_who_has_no_time_for_a_single_batch_is_not_waited_for(tmp_path: Path) -> None:
    bandwidths = [1e12] * 7 + [1e3]  # the last one's upload takes minutes
    devices(tmp_path, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 20.0, 1.0], uplink_bits_per_s=bandwidths)
    part = {"clients_per_round": 8, "deadline_s": 10.0, "late": "partial"}
    local = {"batch_samples": 2}
    raw = priced(part, rounds=2, phases__further_pretrain__local=local)
    run = played(raw, tmp_path, tmp_path / "run")
    trips = run.trips.set_index(["round", "client"]).sort_index()
    assert run.rounds.end_s.tolist() == [10.0, 20.0]
    assert trips.outcome.xs(7, level="client").tolist() == ["late", "late"]
    assert (trips.outcome.drop(7, level="client") == "completed").all()
    assert trips.planned_batches.tolist() == [3] * 16
    assert trips.batches.xs(6, level="client").tolist() == [1, 1]  # of three that take 20 s


def test_a_round_with_too_few_updates_is_given_up(tmp_path: Path) -> None:
    devices(tmp_path, [1.0, 2.0, 3.0, 40.0, 50.0, 60.0, 70.0, 80.0])
    part = {"clients_per_round": 8, "deadline_s": 10.0, "quorum": 4, "max_empty_rounds": 4}
    run = played(priced(part, rounds=3), tmp_path, tmp_path / "run")
    assert run.rounds.unused.tolist() == [3, 3, 3]
    assert run.rounds.late.tolist() == [5, 5, 5]
    assert run.rounds.end_s.tolist() == [10.0, 20.0, 30.0]
    assert (run.rounds.trained_groups == "").all()
    assert (run.rounds.wasted_upload_bytes == run.rounds.upload_bytes).all()
    enough = played(priced({**part, "quorum": 3}, rounds=3), tmp_path, tmp_path / "enough")
    assert enough.rounds.completed.tolist() == [3, 3, 3]
