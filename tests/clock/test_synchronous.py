import math
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.clock import OUTCOMES, Outcome, Trips, durations, energy, play
from fedsim.clock.transfers import ServerLink
from fedsim.cost.price import Prices
from fedsim.fleet import Fleet
from tests.clock.cohorts import fleet, prices
from tests.clock.reference import reference

SPENT = ("download_bytes", "upload_bytes", "flops_forward", "flops_backward")
TIMES = ("download_s", "compute_s", "upload_s")


def outcomes(trips: Trips) -> list[str]:
    return [OUTCOMES[code].value for code in trips.outcome]


def computing(seconds: list[int], **devices: object) -> tuple[Prices, Fleet]:
    """Trips that only compute, for so many seconds."""
    return prices(len(seconds), flops_forward=seconds), fleet([1.0] * len(seconds), **devices)  # type: ignore[arg-type]


# --- the closing rule ---------------------------------------------------------------------------------------


def test_the_round_closes_with_the_last_update_wanted() -> None:
    trips = play(*computing([5, 2, 9, 4]), wanted=2, deadline_s=None, now_s=100.0)
    assert outcomes(trips) == ["late", "completed", "late", "completed"]
    assert trips.closed_s == 104.0
    assert trips.start_s.tolist() == [100.0] * 4
    assert trips.end_s.tolist() == [104.0, 102.0, 104.0, 104.0]


def test_ties_go_by_cohort_order_and_a_late_tie_has_spent_everything() -> None:
    trips = play(*computing([3, 3, 3]), wanted=2, deadline_s=None, now_s=0.0)
    assert outcomes(trips) == ["completed", "completed", "late"]
    assert trips.flops_forward.tolist() == [3, 3, 3]
    assert trips.closed_s == 3.0


def test_everybody_is_awaited_where_all_are_wanted() -> None:
    trips = play(*computing([5, 2, 9]), wanted=3, deadline_s=None, now_s=0.0)
    assert outcomes(trips) == ["completed"] * 3
    assert trips.closed_s == 9.0


def test_the_deadline_is_still_in_time() -> None:
    trips = play(*computing([5, 2, 9]), wanted=3, deadline_s=5.0, now_s=1.0)
    assert outcomes(trips) == ["completed", "completed", "late"]
    assert trips.closed_s == 6.0


def test_a_deadline_that_nobody_meets() -> None:
    trips = play(*computing([5, 2, 9]), wanted=1, deadline_s=1.0, now_s=0.0)
    assert outcomes(trips) == ["late"] * 3
    assert trips.closed_s == 1.0
    assert trips.flops_forward.tolist() == [1, 1, 1]


def test_over_selection_may_close_before_the_deadline() -> None:
    trips = play(*computing([5, 2, 9]), wanted=2, deadline_s=8.0, now_s=0.0)
    assert outcomes(trips) == ["completed", "completed", "late"]
    assert trips.closed_s == 5.0


def test_fewer_able_devices_than_wanted() -> None:
    price, devices = computing([5, 2, 9], memory_bytes=[100, 100, 0])
    trips = play(price, devices, wanted=3, deadline_s=None, now_s=0.0)
    assert outcomes(trips) == ["completed", "completed", "out_of_memory"]
    assert trips.closed_s == 5.0
    assert play(price, devices, wanted=3, deadline_s=7.0, now_s=0.0).closed_s == 7.0


@pytest.mark.parametrize("deadline_s", [None, 60.0])
def test_nobody_able_closes_at_once(deadline_s: float | None) -> None:
    trips = play(*computing([5, 2], memory_bytes=0), wanted=1, deadline_s=deadline_s, now_s=7.0)
    assert outcomes(trips) == ["out_of_memory"] * 2
    assert trips.closed_s == 7.0
    assert trips.end_s.tolist() == [7.0, 7.0]
    assert not trips.energy_j.any()
    assert not trips.downloaded.any()


def test_an_empty_cohort_closes_at_once() -> None:
    trips = play(*computing([]), wanted=1, deadline_s=None, now_s=7.0)
    assert (len(trips), trips.closed_s) == (0, 7.0)


def test_memory_that_just_suffices() -> None:
    price = prices(3, memory_bytes=[10, 11, 9])
    trips = play(price, fleet([1.0] * 3, memory_bytes=10), wanted=3, deadline_s=None, now_s=0.0)
    assert outcomes(trips) == ["completed", "out_of_memory", "completed"]


def test_out_of_memory_devices_spend_nothing() -> None:
    price = prices(2, 10, 10, 10, 10, memory_bytes=[5, 50])
    trips = play(price, fleet([1.0] * 2, memory_bytes=20), wanted=2, deadline_s=None, now_s=3.0)
    assert outcomes(trips) == ["completed", "out_of_memory"]
    for name in (*SPENT, *TIMES, "energy_j", "downloaded"):
        assert getattr(trips, name)[1] == 0
    assert (trips.start_s[1], trips.end_s[1]) == (3.0, 3.0)


def test_free_trips_arrive_at_once() -> None:
    trips = play(prices(2), fleet([1.0, 1.0], latency_s=9.0), wanted=2, deadline_s=None, now_s=5.0)
    assert outcomes(trips) == ["completed", "completed"]
    assert trips.closed_s == 5.0
    assert trips.downloaded.all()


def test_one_client_is_its_own_round() -> None:
    price, device = prices(1, 40, 20, 6, 12), fleet([9.0], 80.0, 40.0, 0.5)
    trips = play(price, device, wanted=1, deadline_s=None, now_s=0.0)
    assert trips.closed_s == trips.end_s[0] == durations(price, device).total_s[0] == 4.5 + 2.0 + 4.5
    assert trips.energy_j[0] == 2.0 + 4.0 + 4.0


def test_equal_clients_are_equal() -> None:
    trips = play(prices(50, 7, 5, 3, 6), fleet([0.3] * 50, latency_s=0.1), wanted=50, deadline_s=None, now_s=0.0)
    assert (trips.outcome == Outcome.completed.code).all()
    assert trips.having(Outcome.completed).all()
    for name in (*SPENT, *TIMES, "end_s", "energy_j"):
        assert len(set(getattr(trips, name).tolist())) == 1


# --- what late trips have spent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closing_s", "download", "flops", "upload", "downloaded"),
    [
        (0.5, 0, (0, 0), 0, False),  # waiting for the first byte
        (1.0, 0, (0, 0), 0, False),
        (2.5, 1, (0, 0), 0, False),  # bytes flow: one a second
        (5.0, 4, (0, 0), 0, True),
        (6.0, 4, (1, 2), 0, True),  # a quarter of 6 and 10, rounded down
        (9.0, 4, (6, 10), 0, True),
        (10.0, 4, (6, 10), 0, True),  # waiting again
        (11.5, 4, (6, 10), 1, True),
        (12.75, 4, (6, 10), 2, True),
    ],
)
def test_a_late_trip_is_booked_up_to_closing(
    closing_s: float, download: int, flops: tuple[int, int], upload: int, downloaded: bool
) -> None:
    device = fleet([4.0], latency_s=1.0, compute_power_w=2.0, radio_power_w=8.0)
    trips = play(prices(1, 4, 3, 6, 10), device, wanted=1, deadline_s=closing_s, now_s=50.0)
    assert outcomes(trips) == ["late"]
    assert trips.download_bytes[0] == download
    assert (trips.flops_forward[0], trips.flops_backward[0]) == flops
    assert trips.upload_bytes[0] == upload
    assert trips.downloaded[0] == downloaded
    assert trips.download_s[0] == min(closing_s, 5.0)
    assert trips.compute_s[0] == min(max(closing_s - 5.0, 0.0), 4.0)
    assert trips.upload_s[0] == max(closing_s - 9.0, 0.0)
    assert trips.energy_j[0] == 2.0 * trips.compute_s[0] + 8.0 * (download + upload)
    assert trips.end_s[0] == trips.closed_s == 50.0 + closing_s


def test_flops_beyond_the_precision_of_a_float_are_exact_once_computed() -> None:
    many = 2**60 + 1
    trips = play(prices(1, flops_forward=many), fleet([1e15]), wanted=1, deadline_s=None, now_s=0.0)
    assert trips.flops_forward[0] == many


@pytest.mark.parametrize(("wanted", "deadline_s"), [(0, None), (1, 0.0), (1, -1.0)])
def test_senseless_rules_are_refused(wanted: int, deadline_s: float | None) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        play(*computing([1]), wanted=wanted, deadline_s=deadline_s, now_s=0.0)


def test_prices_and_devices_must_belong_together() -> None:
    with pytest.raises(ValueError, match="3 prices for 1 devices"):
        play(prices(3), fleet([1.0]), wanted=1, deadline_s=None, now_s=0.0)


# --- against a slow reference -----------------------------------------------------------------------------------
# Bandwidths, speeds and latencies are powers of two or sixteenths, so that floats are exact and equality can be asked.


@st.composite
def exact_cohorts(draw: st.DrawFn) -> tuple[Prices, Fleet]:
    clients = draw(st.integers(0, 7))

    def column(element: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(element, min_size=clients, max_size=clients))

    small = st.integers(0, 40)
    price = prices(
        clients, column(small), column(small), column(small), column(small), memory_bytes=column(st.integers(1, 4))
    )
    powers = st.integers(0, 3)
    device = fleet(
        [2.0**k for k in column(powers)],
        [8 * 2.0**k for k in column(powers)],
        [8 * 2.0**k for k in column(powers)],
        [k / 16 for k in column(st.integers(0, 40))],
        column(st.integers(1, 6)),
        [k / 2 for k in column(st.integers(0, 9))],
        [k / 2 for k in column(st.integers(0, 9))],
    )
    return price, device


@settings(max_examples=300)
@given(exact_cohorts(), st.integers(1, 7), st.none() | st.integers(1, 600))
def test_a_round_is_what_a_queue_of_events_makes_of_it(
    cohort: tuple[Prices, Fleet], wanted: int, sixteenths: int | None
) -> None:
    price, device = cohort
    deadline_s = None if sixteenths is None else sixteenths / 16
    trips = play(price, device, wanted, deadline_s, now_s=1024.0)
    result, closing, spent = reference(price, device, wanted, deadline_s)
    assert outcomes(trips) == [outcome.value for outcome in result]
    assert trips.closed_s == 1024 + closing
    for i, (amounts, times) in enumerate(spent):
        assert [int(getattr(trips, name)[i]) for name in SPENT] == [amounts[0], amounts[1], amounts[2], amounts[3]]
        assert [Fraction(float(getattr(trips, name)[i])) for name in TIMES] == times
        whole = result[i] is not Outcome.out_of_memory and int(price.download_bytes[i]) == amounts[0]
        assert trips.downloaded[i] == (whole and times[0] == durations(price, device).download_s[i])
        assert trips.end_s[i] == 1024 + sum(times, Fraction(0))


# --- bookkeeping with any numbers ---------------------------------------------------------------------------------


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[Prices, Fleet]:
    clients = draw(st.integers(1, 8))
    amounts = st.lists(st.integers(0, 2**45), min_size=clients, max_size=clients)
    speeds = st.lists(st.floats(1.0, 1e13), min_size=clients, max_size=clients)
    small = st.lists(st.floats(0.0, 5.0), min_size=clients, max_size=clients)
    memory = st.lists(st.integers(1, 9), min_size=clients, max_size=clients)
    price = prices(clients, draw(amounts), draw(amounts), draw(amounts), draw(amounts), draw(memory))
    device = fleet(
        draw(speeds),
        draw(speeds),
        draw(speeds),
        draw(small),
        draw(memory),
        compute_power_w=draw(small),
        radio_power_w=2.0,
    )
    return price, device


rules = st.tuples(st.integers(1, 9), st.none() | st.floats(1e-3, 1e9))


@given(cohorts(), rules, st.floats(0.0, 1e7))
def test_useful_and_wasted_work_add_up(
    cohort: tuple[Prices, Fleet], rule: tuple[int, float | None], now_s: float
) -> None:
    price, device = cohort
    trips = play(price, device, *rule, now_s)
    completed, needed = trips.having(Outcome.completed), durations(price, device)
    for name in SPENT:
        spent, whole = getattr(trips, name), getattr(price, name)
        assert spent.dtype == np.int64
        assert ((spent >= 0) & (spent <= whole)).all()
        assert (spent[completed] == whole[completed]).all()
        assert not spent[trips.having(Outcome.out_of_memory)].any()
    for name in TIMES:
        spent, whole = getattr(trips, name), getattr(needed, name)
        assert ((spent >= 0) & (spent <= whole)).all()
        assert (spent[completed] == whole[completed]).all()
    assert trips.downloaded[completed].all()
    assert (trips.download_bytes[trips.downloaded] == price.download_bytes[trips.downloaded]).all()
    full = energy(price.download_bytes, price.upload_bytes, needed.compute_s, device)
    assert (trips.energy_j <= full).all()
    assert (trips.energy_j[completed] == full[completed]).all()
    assert completed.sum() <= rule[0]


@given(cohorts(), rules, st.floats(0.0, 1e7))
def test_the_clock_never_goes_back(cohort: tuple[Prices, Fleet], rule: tuple[int, float | None], now_s: float) -> None:
    trips = play(*cohort, *rule, now_s)
    assert math.isfinite(trips.closed_s)
    assert (trips.start_s == now_s).all()
    assert ((now_s <= trips.end_s) & (trips.end_s <= trips.closed_s)).all()
    assert (trips.end_s[trips.having(Outcome.late)] == trips.closed_s).all()
    again = play(*cohort, *rule, trips.closed_s)
    assert again.closed_s >= trips.closed_s
    assert (again.outcome == trips.outcome).all()


@given(cohorts(), st.floats(1e-3, 1e9), st.floats(1.0, 100.0))
def test_a_trip_has_never_spent_less_when_the_round_closes_later(
    cohort: tuple[Prices, Fleet], deadline_s: float, factor: float
) -> None:
    wanted = len(cohort[1])
    early = play(*cohort, wanted, deadline_s, 0.0)
    later = play(*cohort, wanted, deadline_s * factor, 0.0)
    for name in (*SPENT, *TIMES, "energy_j", "downloaded"):
        assert (getattr(early, name) <= getattr(later, name)).all()
    assert not (early.having(Outcome.completed) & later.having(Outcome.late)).any()


@given(cohorts(), rules)
def test_when_the_round_starts_changes_nothing_but_the_clock(
    cohort: tuple[Prices, Fleet], rule: tuple[int, float | None]
) -> None:
    early, later = play(*cohort, *rule, 0.0), play(*cohort, *rule, 123456.7)
    for field in fields(Trips):
        if field.name not in {"start_s", "end_s", "opened_s", "closed_s"}:
            assert np.array_equal(getattr(early, field.name), getattr(later, field.name))


# --- over the server's own link -------------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [None, 64.0])
@pytest.mark.parametrize("up", [None, 64.0])
def test_who_never_starts_sends_and_receives_nothing(down: float | None, up: float | None) -> None:
    price = prices(2, 80, 40, 8, memory_bytes=[1, 101])
    link = ServerLink(down, up)
    trips = play(price, fleet([2.0, 2.0], 16.0, 16.0, 0.5), 2, None, 0.0, link=link, gone_s=np.array([np.inf, 3.0]))
    assert outcomes(trips) == ["completed", "out_of_memory"]
    for name in (*SPENT, *TIMES, "energy_j"):
        assert getattr(trips, name)[1] == 0
        assert getattr(trips, name)[0] > 0 or name == "flops_backward"
