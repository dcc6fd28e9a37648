"""Rounds in which all clients train one model: one after the other, or step by step.

Nothing that a client has done to the model can be taken out of it again. So everybody whose device is able is waited
for, and every trip is spent in full.
"""

from dataclasses import replace

import numpy as np

from fedsim.clock.booking import Round, book
from fedsim.clock.trips import Durations, Outcome, Trips, durations
from fedsim.cost.price import Prices
from fedsim.fleet.devices import Fleet, FloatArray


def relay(prices: Prices, fleet: Fleet, now_s: float, needed: Durations | None = None) -> Trips:
    """Each client starts when the one before it, in the cohort's order, is back.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        now_s: When the round starts.
        needed: How long each leg of each trip takes; None: as `durations` says.
    """
    able = fleet.memory_bytes >= prices.memory_bytes
    needed = needed or durations(prices, fleet)
    ends_s = np.cumsum(np.where(able, needed.total_s, 0.0))
    starts_s = np.concatenate([[0.0], ends_s[:-1]])
    return _spent(prices, fleet, needed, starts_s, now_s)


def lockstep(prices: Prices, fleet: Fleet, steps_s: FloatArray, now_s: float, needed: Durations | None = None) -> Trips:
    """All start together, and a step begins when the slowest client has ended the one before it.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        steps_s: How long each step of each client takes by itself, shape [cohort, steps]; 0 where it has no more.
        now_s: When the round starts.
        needed: How long each leg of each trip takes; None: as `durations` says.
    """
    able = fleet.memory_bytes >= prices.memory_bytes
    needed = needed or durations(prices, fleet)
    begins_s, wait_s = needed.download_s, np.zeros(len(fleet))
    for step, own_s in enumerate(steps_s.T):
        active = able & (own_s > 0)
        if not active.any():
            break
        ends_s = begins_s + own_s
        barrier_s = float(ends_s[active].max())
        # a client's last step ends with itself: nobody waits for what comes after it
        again = active & (steps_s[:, step + 1 :] > 0).any(1)
        wait_s = np.where(again, wait_s + (barrier_s - ends_s), wait_s)
        begins_s = np.full(len(fleet), barrier_s)
    return _spent(prices, fleet, replace(needed, wait_s=wait_s), np.zeros(len(fleet)), now_s)


def _spent(prices: Prices, fleet: Fleet, needed: Durations, starts_s: FloatArray, now_s: float) -> Trips:
    """Trips that are spent in full, where the device has the memory for them."""
    if len(prices.memory_bytes) != len(fleet):
        raise ValueError(f"{len(prices.memory_bytes)} prices for {len(fleet)} devices")
    able = fleet.memory_bytes >= prices.memory_bytes
    given_s = np.where(able, needed.total_s, -1.0)
    outcome = np.where(able, Outcome.completed.code, Outcome.out_of_memory.code).astype(np.int8)
    trips = book(prices, fleet, needed, outcome, now_s + starts_s, given_s, Round(now_s, now_s))
    return replace(trips, closed_s=float(trips.end_s[able].max())) if able.any() else trips
