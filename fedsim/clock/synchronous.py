"""The synchronous round: everybody starts together, the server waits for the first `wanted` updates or a deadline.

Over-selection and deadlines follow Bonawitz et al. 2019 (section 2.2): a cohort larger than needed, stragglers cut off.
"""

import numpy as np

from fedsim.clock.trips import BoolArray, Outcome, Trips, durations, energy
from fedsim.cost.price import Prices
from fedsim.cost.split import nowhere
from fedsim.data.work import IntArray
from fedsim.fleet.devices import Fleet, FloatArray


def play(prices: Prices, fleet: Fleet, wanted: int, deadline_s: float | None, now_s: float) -> Trips:
    """Who arrives, who does not and why, when the round closes, and what every trip has spent by then.

    The round closes when `wanted` trips are back (ties go by cohort order), or at the deadline, which itself is
    still in time. Without a deadline and with fewer able devices than `wanted` it closes when the last able one is
    back, and at once where nobody is able. A late trip is booked with what it had spent by closing time: bytes flow
    after the latency of their leg, forward and backward FLOPs advance in proportion, and so does all that happens
    between client and server in a split training; bytes and FLOPs are rounded down.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        wanted: Updates that the server waits for, at least 1.
        deadline_s: Longest time the round may take; None: no limit.
        now_s: When the round starts.

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
    needed = durations(prices, fleet)
    completed, closing_s = _close(needed.total_s, able, wanted, deadline_s)
    given_s = np.where(able, closing_s, 0.0)

    download_s = _leg(np.zeros(size), needed.download_s, given_s)
    training_s = _leg(needed.download_s, needed.training_s, given_s)
    upload_s = _leg(needed.download_s + needed.training_s, needed.upload_s, given_s)
    remote = prices.remote or nowhere(size)

    def trained(amount: IntArray) -> IntArray:
        return _computed(amount, training_s, needed.training_s)

    cut_down, cut_up = trained(remote.cut_download_bytes), trained(remote.cut_upload_bytes)
    fetched = _flowed(prices.fetched_bytes, download_s, needed.download_s, fleet.downlink_bits_per_s, fleet)
    delivered = _flowed(prices.delivered_bytes, upload_s, needed.upload_s, fleet.uplink_bits_per_s, fleet)
    download_bytes, upload_bytes = fetched + cut_down, delivered + cut_up
    compute_s = _part(needed.compute_s, training_s, needed.training_s)
    return Trips(
        outcome=np.select(
            [completed, able], [Outcome.completed.code, Outcome.late.code], Outcome.out_of_memory.code
        ).astype(np.int8),
        start_s=np.full(size, now_s),
        end_s=now_s + np.minimum(needed.total_s, given_s),
        download_s=download_s,
        compute_s=compute_s,
        upload_s=upload_s,
        download_bytes=download_bytes,
        upload_bytes=upload_bytes,
        exchange_s=_part(needed.exchange_s, training_s, needed.training_s),
        server_s=_part(needed.server_s, training_s, needed.training_s),
        wait_s=np.zeros(size),
        flops_forward=trained(prices.flops_forward),
        flops_backward=trained(prices.flops_backward),
        cut_download_bytes=cut_down,
        cut_upload_bytes=cut_up,
        server_flops_forward=trained(remote.server_flops_forward),
        server_flops_backward=trained(remote.server_flops_backward),
        energy_j=energy(download_bytes, upload_bytes, compute_s, fleet),
        downloaded=able & (needed.download_s <= closing_s),
        closed_s=now_s + closing_s,
    )


def _close(total_s: FloatArray, able: BoolArray, wanted: int, deadline_s: float | None) -> tuple[BoolArray, float]:
    """Which trips count, and how long after its start the round closes."""
    completed = np.zeros(len(able), dtype=np.bool_)
    arrivals = np.flatnonzero(able)
    arrivals = arrivals[np.argsort(total_s[arrivals], kind="stable")][:wanted]
    if deadline_s is not None:
        arrivals = arrivals[total_s[arrivals] <= deadline_s]
    completed[arrivals] = True
    if not able.any():
        return completed, 0.0
    if deadline_s is not None and len(arrivals) < wanted:
        return completed, deadline_s
    return completed, float(total_s[arrivals[-1]])


def _leg(start_s: FloatArray, needed_s: FloatArray, given_s: FloatArray) -> FloatArray:
    """Time spent in a leg that begins at `start_s`, in a trip that is given `given_s` in all."""
    # A finished leg takes its own time exactly: `given - start` would be off by a rounding.
    return np.where(start_s + needed_s <= given_s, needed_s, np.clip(given_s - start_s, 0.0, needed_s))


def _flowed(
    needed: IntArray, spent_s: FloatArray, needed_s: FloatArray, bits_per_s: FloatArray, fleet: Fleet
) -> IntArray:
    """Bytes sent in a leg: nothing during the latency, then at full speed."""
    flowed = np.maximum(spent_s - fleet.latency_s, 0.0) * bits_per_s / 8
    return np.where(spent_s >= needed_s, needed, np.minimum(needed, np.floor(flowed).astype(np.int64)))


def _part(needed_s: FloatArray, spent_s: FloatArray, whole_s: FloatArray) -> FloatArray:
    """Time of one part of the training, which goes on evenly; exactly all of it where the whole was finished."""
    share = np.divide(needed_s, whole_s, out=np.ones(len(needed_s)), where=whole_s > 0)
    return np.where(spent_s >= whole_s, needed_s, spent_s * share)


def _computed(needed: IntArray, spent_s: FloatArray, needed_s: FloatArray) -> IntArray:
    """FLOPs done in a part of the time; exactly all of them where that was enough."""
    # Multiplied before divided: a third of 3 must not become 0.999.
    done = np.divide(needed * spent_s, needed_s, out=np.zeros(len(needed)), where=needed_s > 0)
    return np.where(spent_s >= needed_s, needed, np.minimum(needed, np.floor(done).astype(np.int64)))
