import math
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedsim.clock import OUTCOMES, Outcome, Trips, durations, energy, play
from fedsim.clock.transfers import ServerLink
from fedsim.cost.price import Prices
from fedsim.fleet.devices import Fleet
from tests.clock.cohorts import fleet, prices
from tests.clock.reference import linked, reference

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


@pytest.mark.slow
@settings(max_examples=300)
@given(
    exact_cohorts(),
    st.integers(1, 7),
    st.none() | st.integers(1, 600),
    st.lists(st.integers(1, 900) | st.just(10**9), min_size=7, max_size=7),
    st.integers(1, 7),
)
def test_a_round_is_what_a_queue_of_events_makes_of_it(
    cohort: tuple[Prices, Fleet], wanted: int, sixteenths: int | None, leaving: list[int], quorum: int
) -> None:
    price, device = cohort
    deadline_s = None if sixteenths is None else sixteenths / 16
    gone_s = [math.inf if k == 10**9 else k / 16 for k in leaving[: len(device)]]
    trips = play(price, device, wanted, deadline_s, now_s=1024.0, quorum=quorum, gone_s=np.array(gone_s))
    result, closing, spent = reference(price, device, wanted, deadline_s, gone_s, quorum)
    assert outcomes(trips) == [outcome.value for outcome in result]
    assert trips.closed_s == 1024 + closing
    for i, (amounts, times) in enumerate(spent):
        assert [int(getattr(trips, name)[i]) for name in SPENT] == [amounts[0], amounts[1], amounts[2], amounts[3]]
        assert [Fraction(float(getattr(trips, name)[i])) for name in TIMES] == times
        whole = result[i] is not Outcome.out_of_memory and int(price.download_bytes[i]) == amounts[0]
        assert trips.downloaded[i] == (whole and times[0] == durations(price, device).download_s[i])
        assert trips.end_s[i] == 1024 + sum(times, Fraction(0))


@st.composite
def links(draw: st.DrawFn) -> tuple[Prices, Fleet, list[float], tuple[float | None, float | None]]:
    clients = draw(st.integers(1, 6))

    def column(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=clients, max_size=clients))

    price = prices(clients, column(0, 40), column(0, 40), column(0, 40))
    device = fleet([float(k) for k in column(1, 9)], [8.0 * k for k in column(1, 9)], [8.0 * k for k in column(1, 9)],
                   [k / 7 for k in column(0, 9)])  # fmt: skip
    # nobody leaves just when something else happens: that is decided by roundings
    gone = [math.inf if k > 60 else k / 3 + 1e-4 for k in column(1, 120)]
    capacity = st.none() | st.integers(4, 200).map(float)
    return price, device, gone, (draw(capacity), draw(capacity))


@settings(max_examples=200)
@given(links(), st.integers(1, 6))
def test_a_round_over_the_servers_link_is_what_a_queue_of_events_makes_of_it(
    case: tuple[Prices, Fleet, list[float], tuple[float | None, float | None]], wanted: int
) -> None:
    price, device, gone_s, capacities = case
    trips = play(price, device, wanted, None, now_s=0.0, gone_s=np.array(gone_s), link=ServerLink(*capacities))
    result, closing, bits, back = linked(price, device, wanted, gone_s, capacities)
    rest = [end for end in linked(price, device, len(device) + 1, gone_s, capacities)[3] if end != closing]
    assume(all(abs(end - closing) > 1e-9 for end in rest) and back.count(closing) <= 1)
    assert outcomes(trips) == [outcome.value for outcome in result]
    assert trips.closed_s == pytest.approx(float(closing), rel=1e-12)
    for i, (down, up) in enumerate(bits):
        for spent, exact in ((trips.download_bytes[i], down / 8), (trips.upload_bytes[i], up / 8)):
            assert exact - 1 - 1e-6 < spent < exact + 1e-6
        if result[i] is Outcome.completed:
            assert trips.end_s[i] == pytest.approx(float(back[i]), rel=1e-12)


@pytest.mark.parametrize("clients", [1, 2, 16])
def test_equal_clients_share_the_link_equally(clients: int) -> None:
    price, device = prices(clients, 100, 50, 30), fleet([10.0] * clients, 1600.0, 800.0, 0.5)
    trips = play(price, device, clients, None, 0.0, link=ServerLink(1600.0, 400.0))
    # 100 bytes at an equal part of 1,600 bit/s, three seconds of computing, 50 bytes at an equal part of 400
    assert trips.download_s.tolist() == [0.5 + clients * 0.5] * clients
    assert trips.upload_s.tolist() == [0.5 + clients * 1.0] * clients
    assert trips.closed_s == 4.0 + clients * 1.5


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


@given(cohorts(), st.floats(1e-3, 1e9), st.integers(0, 4), st.floats(1.0, 8.0))
def test_a_better_device_is_never_late_where_a_worse_one_was_not(
    cohort: tuple[Prices, Fleet], deadline_s: float, which: int, factor: float
) -> None:
    price, device = cohort
    names = ("flops_per_s", "downlink_bits_per_s", "uplink_bits_per_s", "memory_bytes", "latency_s")
    own = getattr(device, names[which])
    better = own / factor if names[which] == "latency_s" else (own * factor).astype(own.dtype)
    before = play(price, device, len(device), deadline_s, 0.0)
    after = play(price, replace(device, **{names[which]: better}), len(device), deadline_s, 0.0)
    assert not (before.having(Outcome.completed) & ~after.having(Outcome.completed)).any()
    if names[which] != "memory_bytes":  # of those who become able, somebody may be the last
        assert after.closed_s <= before.closed_s


# --- bookkeeping with any numbers ---------------------------------------------------------------------------------


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
