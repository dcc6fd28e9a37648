"""Which plan a client is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedsim.errors import UserError
from fedsim.fleet.devices import build
from fedsim.methods.assign import Assignment, by_memory, by_shares, by_speed, check_classes
from fedsim.scenario.fleet import Fleet

MEMORY = np.array([[10, 10, 10, 10], [20, 20, 20, 20], [40, 40, 40, 40]])
SECONDS = np.array([[1.0, 1.0, 5.0, 1.0], [2.0, 2.0, 8.0, 2.0], [4.0, 4.0, 9.0, 4.0]])


def test_memory_gives_the_largest_plan_that_fits() -> None:
    assert by_memory(MEMORY, SECONDS, np.array([9, 10, 39, 40]), None).tolist() == [0, 0, 1, 2]


def test_the_deadline_is_a_limit_too() -> None:
    roomy = np.full(4, 100)
    assert by_memory(MEMORY, SECONDS, roomy, 4.0).tolist() == [2, 2, 0, 2]
    assert by_memory(MEMORY, SECONDS, roomy, 3.9).tolist() == [1, 1, 0, 1]
    assert by_memory(MEMORY, SECONDS, roomy, 8.0).tolist() == [2, 2, 1, 2]


def test_a_gap_below_the_largest_that_fits_is_no_obstacle() -> None:
    # more depth may need less memory than less depth with a costly head
    memory = np.array([[10], [30], [20]])
    assert by_memory(memory, np.ones((3, 1)), np.array([25]), None).tolist() == [2]


def test_the_slower_half_is_given_the_smaller_plan() -> None:
    fleet = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    assert by_speed(fleet, fleet, np.ones(2)).tolist() == [1, 0, 1, 0, 0, 1]
    assert by_speed(fleet, fleet, np.ones(3)).tolist() == [2, 0, 1, 0, 1, 2]
    assert by_speed(fleet, fleet, np.array([1.0, 2.0])).tolist() == [1, 0, 1, 0, 1, 1]
    assert by_speed(np.full(3, 7.0), np.full(9, 7.0), np.ones(3)).tolist() == [0, 0, 0]


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40), st.lists(st.floats(0.1, 5.0), min_size=1, max_size=5))
def test_quicker_devices_are_never_given_less(speeds: list[float], shares: list[float]) -> None:
    fleet = np.array(speeds)
    plans = by_speed(np.sort(fleet), fleet, np.array(shares))
    assert (np.diff(plans) >= 0).all()
    assert 0 <= plans.min() <= plans.max() < len(shares)


@given(st.integers(1, 300), st.lists(st.floats(0.1, 5.0), min_size=1, max_size=5), st.integers(0, 99))
def test_shares_are_met_and_a_client_keeps_its_plan(total: int, shares: list[float], seed: int) -> None:
    clients = np.arange(total)
    plans = by_shares(clients, total, np.array(shares), seed)
    counts = np.bincount(plans, minlength=len(shares))
    assert np.abs(counts - total * np.array(shares) / sum(shares)).max() < 1
    some = clients[::3]
    assert (by_shares(some, total, np.array(shares), seed) == plans[some]).all()


def test_another_seed_deals_anew() -> None:
    dealt = [by_shares(np.arange(50), 50, np.ones(3), seed).tolist() for seed in (1, 2)]
    assert dealt[0] != dealt[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shares": [0.5, 0.5]}, "shares: goes with by: speed, shares; by is memory"),
        ({"by": "speed", "devices": {"pi_4": 0}}, "devices: goes with by: devices; by is speed"),
        ({"by": "devices"}, "devices: is required with by: devices"),
    ],
)
def test_what_does_not_count_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Assignment.model_validate(given)


def test_lists_must_fit_the_plans() -> None:
    drawn = Assignment(by="shares", shares=(1.0, 2.0))
    assert not list(drawn.misfits(2))
    assert [p.message for p in drawn.misfits(3)] == ["lists 2 shares, there are 3 plans"]
    listed = Assignment(by="devices", devices={"pi_4": 0, "phone_high": 2})
    assert [(p.key, p.message) for p in listed.misfits(2)] == [
        (("devices", "phone_high"), "is plan 2, the plans are 0 to 1")
    ]


def test_every_device_class_needs_a_plan(tmp_path: object) -> None:
    spec = Fleet.model_validate(
        {"clients": 4, "source": {"kind": "catalog", "devices": {"pi_4": 1, "phone_high": 1}, "networks": {"wifi": 1}}}
    )
    fleet = build(spec, tmp_path, 0)  # type: ignore[arg-type]
    check_classes(Assignment(by="devices", devices={"pi_4": 0, "phone_high": 1}), fleet, "here")
    check_classes(Assignment(), fleet, "here")
    with pytest.raises(UserError, match="here: has no plan for the fleet's class 'pi_4'; allowed: phone_high"):
        check_classes(Assignment(by="devices", devices={"phone_high": 1}), fleet, "here")
