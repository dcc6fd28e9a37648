"""The synchronous round: everybody starts together, the server waits for the first `wanted` updates or a deadline.

Over-selection, deadlines and quorums follow Bonawitz et al. 2019 (section 2.2): a cohort larger than needed,
stragglers cut off, and a round given up to which too few have come back.
"""

import numpy as np

from fedsim.clock.booking import Round, book
from fedsim.clock.transfers import ServerLink, Transfers
from fedsim.clock.trips import BoolArray, Durations, Outcome, Trips, durations
from fedsim.cost.price import Prices
from fedsim.fleet.devices import Fleet, FloatArray


def play(
    prices: Prices,
    fleet: Fleet,
    wanted: int,
    deadline_s: float | None,
    now_s: float,
    *,
    quorum: int = 1,
    needed: Durations | None = None,
    gone_s: FloatArray | None = None,
    link: ServerLink | None = None,
) -> Trips:
    """Who arrives, who does not and why, when the round closes, and what every trip has spent by then.

    The round closes when `wanted` trips are back (ties go by cohort order), or at the deadline, which itself is
    still in time. Without a deadline and with fewer trips than `wanted` that end, it closes when the last device is
    back or has vanished, and at once where nobody is able. A device that vanishes just when it arrives has arrived.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        wanted: Updates that the server waits for, at least 1.
        deadline_s: Longest time the round may take; None: no limit.
        now_s: When the round starts.
        quorum: With fewer updates than this the round is given up, and those are `unused`.
        needed: How long each leg of each trip takes over the device's own connection; None: as `durations` says.
        gone_s: Time after which each device vanishes, from the start of the round; None: nobody does.
        link: The server's connection; None: never the bottleneck.

    Raises:
        ValueError: `wanted`, `deadline_s` or the lengths make no sense.
    """
    size = len(fleet)
    if len(prices.memory_bytes) != size:
        raise ValueError(f"{len(prices.memory_bytes)} prices for {size} devices")
    if wanted < 1 or (deadline_s is not None and deadline_s <= 0):
        raise ValueError(f"wanted is {wanted}, deadline_s is {deadline_s}: both must be above 0")
    # All times are relative to the start, so that late in a run they are as exact as at its beginning.
    able = fleet.memory_bytes >= prices.memory_bytes
    needed = needed or durations(prices, fleet)
    gone_s = np.full(size, np.inf) if gone_s is None else gone_s
    transfers = None if link is None else Transfers(link, prices, fleet, needed, able, gone_s)
    needed = needed if transfers is None else transfers.durations()
    total_s = needed.total_s
    back = able & (total_s <= gone_s)
    completed, closing_s = _close(np.minimum(total_s, gone_s), able, back, wanted, deadline_s)
    counted = Outcome.completed if completed.sum() >= quorum else Outcome.unused
    outcome = np.select(
        [completed, able & ~back & (gone_s <= closing_s), able],
        [counted.code, Outcome.dropped.code, Outcome.late.code],
        Outcome.out_of_memory.code,
    ).astype(np.int8)
    given_s = np.where(able, np.minimum(gone_s, closing_s), -1.0)
    flowed = None if transfers is None else transfers.flowed(needed, closing_s)
    return book(prices, fleet, needed, outcome, now_s, given_s, Round(now_s, now_s + closing_s), flowed)


def _close(
    end_s: FloatArray, able: BoolArray, back: BoolArray, wanted: int, deadline_s: float | None
) -> tuple[BoolArray, float]:
    """Which trips count, and how long after its start the round closes; trips end when they are back or are gone."""
    completed = np.zeros(len(able), dtype=np.bool_)
    arrivals = np.flatnonzero(back)
    arrivals = arrivals[np.argsort(end_s[arrivals], kind="stable")][:wanted]
    if deadline_s is not None:
        arrivals = arrivals[end_s[arrivals] <= deadline_s]
    completed[arrivals] = True
    if not able.any():
        return completed, 0.0
    if len(arrivals) == wanted:
        return completed, float(end_s[arrivals[-1]])
    return completed, float(end_s[able].max()) if deadline_s is None else deadline_s
