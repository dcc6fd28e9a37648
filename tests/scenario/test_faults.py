"""Faults that cannot be meant are refused with their line."""

from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.scenario.load import load
from tests.scenario.example import TEXT, write


def with_faults(folder: Path, fault: str, text: str = TEXT) -> Path:
    return write(folder, text + f"faults:\n  - {fault}\n")


@pytest.mark.parametrize(
    "fault",
    [
        "{kind: crash}",
        "{kind: crash, at: 0.0, leg: download, device: phone_low}",
        "{kind: nan, clients: [0, 19], rounds: [0, 0]}",
        "{kind: inf, probability: 1.0, budget: 1}",
        "{kind: corrupted, bits: 31}",
        "{kind: slow, factor: 1.5}",
        "{kind: error}",
        "{kind: wrong_shape}",
        "{kind: duplicated, rounds: [4, 100]}",
    ],
)
def test_faults_that_can_be(tmp_path: Path, fault: str) -> None:
    (found,) = load(with_faults(tmp_path, fault)).scenario.faults
    assert f"kind: {found.kind}" in fault


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("{kind: crashed}", "faults.0.kind: unknown kind 'crashed'; did you mean 'crash'?"),
        ("{at: 0.5}", "faults.0.kind: is required; allowed: corrupted, crash, duplicated, error, inf, nan, slow"),
        ("{kind: crash, att: 0.5}", "faults.0.att: unknown key; did you mean 'at'?"),
        ("{kind: crash, at: 1.0}", "faults.0.at: must be less than 1"),
        ("{kind: crash, at: -0.1}", "faults.0.at: must be at least 0"),
        ("{kind: crash, leg: compute}", "faults.0.leg: unknown value 'compute'"),
        ("{kind: slow}", "faults.0.factor: is required"),
        ("{kind: slow, factor: 1}", "faults.0.factor: must be more than 1"),
        ("{kind: nan, probability: 0}", "faults.0.probability: must be more than 0"),
        ("{kind: nan, probability: 2.0}", "faults.0.probability: must be at most 1"),
        ("{kind: nan, budget: 0}", "faults.0.budget: must be at least 1"),
        ("{kind: nan, clients: []}", "faults.0.clients: needs at least 1 entry"),
        ("{kind: nan, clients: [3, 20]}", "names client 20, the fleet's clients are 0 to 19"),
        ("{kind: nan, rounds: [3, 2]}", "faults.0.rounds: end with 2, before they begin with 3"),
        ("{kind: nan, rounds: [5, 9]}", "faults.0.rounds: begin with 5, a method's rounds are 0 to 4"),
        ("{kind: nan, rounds: [3]}", "faults.0.rounds: needs at least 2 entries"),
        ("{kind: corrupted, bits: 32}", "faults.0.bits: must be at most 31"),
        ("{kind: nan, at: 0.5}", "faults.0.at: unknown key"),
    ],
)
def test_faults_that_cannot_be(tmp_path: Path, fault: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        load(with_faults(tmp_path, fault))
    assert text in str(caught.value)
    assert f"tiny.yaml:{TEXT.count(chr(10)) + 2}: " in str(caught.value)


def test_a_body_that_all_clients_share_has_no_way_back(tmp_path: Path) -> None:
    shared = TEXT.replace("  fedavg:\n", "  fedbert: {server_body: shared_sequential}\n")
    shared = shared.replace("participation: {clients_per_round: 10, over_selection: 1.3, deadline_s: 60}",
                            "participation: {clients_per_round: 10}")  # fmt: skip
    with pytest.raises(UserError, match=r"cannot be taken out of what methods\.fedbert trains") as caught:
        load(with_faults(tmp_path, "{kind: nan}", shared))
    assert caught.value.key == "faults"
