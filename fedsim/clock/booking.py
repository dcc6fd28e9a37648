"""What trips have spent that were given so much time: whole legs, and the part of the leg in which they were cut off.

A trip that is cut off is booked with what it had spent by then: bytes flow after the latency of their leg, FLOPs
advance with the time spent on them, and all that happens between client and server in a split training advances
evenly; bytes and FLOPs are rounded down.
"""

from typing import NamedTuple

import numpy as np

from fedsim.clock.pace import Pace
from fedsim.clock.trips import Durations, OutcomeCodes, Trips, energy
from fedsim.cost.price import Prices
from fedsim.cost.split import nowhere
from fedsim.data.work import IntArray
from fedsim.fleet.devices import Fleet, FloatArray


class Flowed(NamedTuple):
    """Bytes that have flowed in each trip by the time it is given, [cohort] each; whole transfers have all of them."""

    download_bytes: IntArray
    upload_bytes: IntArray


class Round(NamedTuple):
    """When the round that trips end in opened and closed."""

    opened_s: float
    closed_s: float


def book(
    prices: Prices,
    fleet: Fleet,
    needed: Durations,
    outcome: OutcomeCodes,
    start_s: FloatArray | float,
    given_s: FloatArray,
    of: Round,
    flowed: Flowed | None = None,
) -> Trips:
    """The trips of a round.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        needed: How long each leg takes; infinite for a transfer that never ends.
        outcome: How each trip ended.
        start_s: When they started.
        given_s: Time from its start after which each trip is over, if it has not ended by itself; below 0: never begun.
        of: The round.
        flowed: Bytes in transfers that are cut off; None: each device has a line of its own.
    """
    size = len(fleet)
    download_s = _leg(np.zeros(size), needed.download_s, given_s)
    training_s = _leg(needed.download_s, needed.training_s, given_s)
    upload_s = _leg(needed.download_s + needed.training_s, needed.upload_s, given_s)
    remote = prices.remote or nowhere(size)

    def trained(amount: IntArray) -> IntArray:
        return _advanced(amount, training_s, needed.training_s)

    cut_down, cut_up = trained(remote.cut_download_bytes), trained(remote.cut_upload_bytes)
    if flowed is None:
        flowed = Flowed(
            _flowed(prices.fetched_bytes, download_s, needed.download_latency_s, fleet.downlink_bits_per_s),
            _flowed(prices.delivered_bytes, upload_s, needed.upload_latency_s, fleet.uplink_bits_per_s),
        )
    fetched = np.where(download_s >= needed.download_s, prices.fetched_bytes, flowed.download_bytes)
    delivered = np.where(upload_s >= needed.upload_s, prices.delivered_bytes, flowed.upload_bytes)
    download_bytes, upload_bytes = fetched + cut_down, delivered + cut_up
    compute_s = _part(needed.compute_s, training_s, needed.training_s)
    forward, backward = Pace.of(fleet).done(prices.flops_forward, prices.flops_backward, compute_s)
    ended_s = np.maximum(np.minimum(needed.total_s, given_s), 0.0)
    return Trips(
        outcome=outcome,
        start_s=np.broadcast_to(np.asarray(start_s, np.float64), size).copy(),
        end_s=start_s + ended_s,
        download_s=download_s,
        compute_s=compute_s,
        upload_s=upload_s,
        download_bytes=download_bytes,
        upload_bytes=upload_bytes,
        exchange_s=_part(needed.exchange_s, training_s, needed.training_s),
        server_s=_part(needed.server_s, training_s, needed.training_s),
        wait_s=_part(needed.wait_s, training_s, needed.training_s),
        flops_forward=forward,
        flops_backward=backward,
        cut_download_bytes=cut_down,
        cut_upload_bytes=cut_up,
        server_flops_forward=trained(remote.server_flops_forward),
        server_flops_backward=trained(remote.server_flops_backward),
        energy_j=energy(download_bytes, upload_bytes, compute_s, fleet),
        downloaded=needed.download_s <= given_s,
        opened_s=of.opened_s,
        closed_s=of.closed_s,
    )


def _leg(start_s: FloatArray, needed_s: FloatArray, given_s: FloatArray) -> FloatArray:
    """Time spent in a leg that begins at `start_s`, in a trip that is given `given_s` in all."""
    # A finished leg takes its own time exactly: `given - start` would be off by a rounding.
    end_s = start_s + needed_s
    with np.errstate(invalid="ignore"):  # a leg that never begins
        return np.where(end_s <= given_s, needed_s, np.clip(given_s - start_s, 0.0, needed_s))


def _flowed(needed: IntArray, spent_s: FloatArray, latency_s: FloatArray, bits_per_s: FloatArray) -> IntArray:
    """Bytes sent in a leg that is cut off: nothing during the latency, then at full speed."""
    flowed = np.maximum(spent_s - latency_s, 0.0) * bits_per_s / 8
    return np.minimum(needed, np.floor(flowed).astype(np.int64))


def _part(needed_s: FloatArray, spent_s: FloatArray, whole_s: FloatArray) -> FloatArray:
    """Time of one part of the training, which goes on evenly; exactly all of it where the whole was finished."""
    share = np.divide(needed_s, whole_s, out=np.ones(len(needed_s)), where=whole_s > 0)
    return np.where(spent_s >= whole_s, needed_s, spent_s * share)


def _advanced(needed: IntArray, spent_s: FloatArray, needed_s: FloatArray) -> IntArray:
    """What is done in a part of the time; exactly all of it where that was enough."""
    # Multiplied before divided: a third of 3 must not become 0.999.
    done = np.divide(needed * spent_s, needed_s, out=np.zeros(len(needed)), where=needed_s > 0)
    return np.where(spent_s >= needed_s, needed, np.minimum(needed, np.floor(done).astype(np.int64)))
