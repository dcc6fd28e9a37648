"""Ways to pick a cohort: in turn, by loss, from a list, and only those who will stay."""

from collections.abc import Callable, Sequence

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.availability import Availability
from fedsim.selection.draws import Able, BoolArray, FloatArray, Weights, first_able, weighted

_CHUNK = 1 << 16


def in_turn(clients: int, wanted: int, after: int, able: Able | None = None) -> IntArray:
    """The next able clients by number, beginning anew after the last; [wanted] or fewer.

    Args:
        clients: They are numbered from 0 on.
        wanted: How many to pick.
        after: The client that was picked last; -1 at the beginning.
        able: Who may be picked; None: everybody.
    """
    if able is None:
        return (after + 1 + np.arange(min(wanted, clients), dtype=np.int64)) % clients
    picked, missing = [np.zeros(0, np.int64)], wanted
    for start in range(0, clients, _CHUNK):
        round_trip = (after + 1 + np.arange(start, min(start + _CHUNK, clients), dtype=np.int64)) % clients
        picked.append(first_able(round_trip, missing, able))
        missing -= len(picked[-1])
        if missing <= 0:
            break
    return np.concatenate(picked)


def power_of_choice(
    draw: np.random.Generator,
    weights: Weights,
    wanted: int,
    candidates: int,
    loss: FloatArray,
    able: Able | None = None,
) -> IntArray:
    """Out of some candidates those with the highest loss (Cho, Wang and Joshi 2020, arXiv 2010.01243), highest first.

    Args:
        draw: A random stream.
        weights: Candidates are drawn without replacement in proportion to these; the article takes numbers of samples.
        wanted: How many to pick.
        candidates: How many to draw; the article's d.
        loss: Loss of each client, [clients]; NaN where it is not known, which goes before every known loss.
        able: Who may be a candidate; None: everybody.

    Raises:
        ValueError: There are fewer candidates than are wanted.
    """
    if candidates < wanted:
        raise ValueError(f"{candidates} candidates, {wanted} are wanted: there must be at least as many")
    drawn = weighted(draw, weights, candidates, able)
    known = np.nan_to_num(loss[drawn], nan=np.inf)
    return drawn[np.argsort(-known, kind="stable")[:wanted]]


def replayed(cohorts: Sequence[Sequence[int]], index: int, able: Able | None = None) -> IntArray:
    """The cohort of a list, without those who are not able.

    Args:
        cohorts: One a round.
        index: Of the round.
        able: Who may take part; None: everybody.
    """
    listed = np.array(cohorts[index], np.int64)
    return listed if able is None else listed[able(listed)]


def staying(availability: Availability, now_s: float, needed_s: Callable[[IntArray], FloatArray] | None) -> Able:
    """Who is there, and will be for as long as needed: nobody who would leave in the middle of a trip.

    Args:
        availability: Of the fleet.
        now_s: When the trips start.
        needed_s: Seconds that the trips of these clients take, [n]; None: to be there now is enough.
    """

    def able(clients: IntArray) -> BoolArray:
        if needed_s is None:
            return availability.at(clients, now_s)
        there = np.flatnonzero(availability.at(clients, now_s))
        found = np.zeros(len(clients), np.bool_)
        found[there] = availability.until(clients[there], now_s) >= needed_s(clients[there])
        return found

    return able
