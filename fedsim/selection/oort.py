"""Picking by usefulness and speed, after Oort (Lai, Zhu, Madhyastha and Chowdhury 2021, OSDI).

A client that took part is as useful as its samples times its loss then, which stands in for the root mean square of its
samples' losses: a client reports one mean loss. Clients that were not seen for long gain, and slow ones lose. One part
of a cohort is drawn among the most useful, the other, which shrinks from round to round, among clients that nobody
knows yet, larger and faster ones first. As in Oort's code, usefulness is cut at a quantile and scaled to [0, 1] before
the gain of age is added. What is left out is the pacer, which moves the preferred duration in the course of training:
here it is a quantile of the known durations.
"""

from dataclasses import dataclass

import numpy as np

from fedsim.data.work import IntArray
from fedsim.selection.draws import Able, FloatArray, Weights, first_able, uniform, weighted


@dataclass(frozen=True)
class Oort:
    """Options, with the defaults of Oort's code."""

    exploration: float = 0.9
    """Share of a cohort that is new, in the first round."""
    exploration_decay: float = 0.98
    """Times this from round to round ..."""
    exploration_least: float = 0.3
    """... down to this."""
    clip: float = 0.9
    """Usefulness above this quantile counts as that."""
    preferred: float = 0.3
    """Trips longer than this quantile of the known ones are slow."""
    penalty: float = 2.0
    """A trip that is twice as long as preferred divides usefulness by two to the power of this."""
    cut_off: float = 0.95
    """Drawn are those with at least this share of the usefulness of the last one needed."""
    window: float = 5.0
    """New clients are drawn among this many times as many as are needed."""

    def share(self, round_: int) -> float:
        """Share of the cohort that is new in a round, counted from 0."""
        return max(self.exploration * self.exploration_decay**round_, self.exploration_least)


@dataclass(frozen=True, eq=False)
class Record:
    """What is known of all clients; every array has shape [clients]."""

    samples: IntArray
    loss: FloatArray
    """Mean loss when it last took part; NaN: never."""
    seconds: FloatArray
    """Length of its trip, measured or expected; NaN: not known, which counts as fast."""
    last_round: IntArray
    """When it last took part, counted from 0; not looked at where it never did."""


def oort(
    draw: np.random.Generator, record: Record, round_: int, wanted: int, options: Oort, able: Able | None = None
) -> IntArray:
    """A cohort, [wanted] or fewer: first those who are known to be useful, then new ones.

    Args:
        draw: A random stream.
        record: What is known of the clients.
        round_: Counted from 0.
        wanted: How many to pick.
        options: How.
        able: Who may be picked; None: everybody.
    """
    may = able or (lambda some: np.ones(len(some), np.bool_))
    slow = _slowness(record.seconds, options)
    old, new = np.flatnonzero(~np.isnan(record.loss)), np.flatnonzero(np.isnan(record.loss))
    unknown = min(int(wanted * options.share(round_)), len(new))
    scores = _scores(record, old, round_, options) * slow[old]
    useful = _exploit(draw, old, scores, wanted - unknown, options, may)
    fresh = _explore(draw, new, (record.samples * slow)[new], wanted - len(useful), options, may)
    picked = np.concatenate([useful, fresh])
    if len(picked) == wanted:
        return picked
    # New ones that were counted on are not able: whoever is left among the known.
    taken = set(picked.tolist())
    others = old[np.argsort(-scores, kind="stable")]
    left = others[[client not in taken for client in others.tolist()]]
    return np.concatenate([picked, first_able(left, wanted - len(picked), may)])


def _slowness(seconds: FloatArray, options: Oort) -> FloatArray:
    """Factor on usefulness for the length of trips, [clients]."""
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return np.ones(len(seconds))
    preferred = np.quantile(known, options.preferred)
    factor = np.ones(len(seconds))
    slow = seconds > preferred
    factor[slow] = (preferred / seconds[slow]) ** options.penalty
    return factor


def _scores(record: Record, old: IntArray, round_: int, options: Oort) -> FloatArray:
    """Usefulness of these clients, before their speed counts."""
    if not len(old):
        return np.zeros(0)
    useful = record.samples[old] * record.loss[old]
    useful = np.minimum(useful, np.quantile(useful, options.clip))
    low = 0.999 * useful.min()  # as in Oort's code: the least useful one is worth a little, too
    scaled = (useful - low) / max(float(useful.max() - low), 1e-4)
    age: FloatArray = np.sqrt(0.1 * np.log(round_ + 1) / (record.last_round[old] + 1))
    total: FloatArray = scaled + age
    return total


def _exploit(
    draw: np.random.Generator, old: IntArray, scores: FloatArray, wanted: int, options: Oort, able: Able
) -> IntArray:
    """Draw among the most useful, in proportion to usefulness."""
    if wanted <= 0 or not len(old):
        return np.zeros(0, np.int64)
    order = np.argsort(-scores, kind="stable")
    best = first_able(old[order], wanted, able)
    if len(best) < wanted:
        return best
    last = float(scores[np.searchsorted(old, best[-1])])
    good = order[scores[order] >= options.cut_off * last]
    chances = np.zeros(len(old))
    chances[good] = np.maximum(scores[good], 1e-12)
    return old[weighted(draw, Weights.of(chances), wanted, lambda some: able(old[some]))]


def _explore(
    draw: np.random.Generator, new: IntArray, worth: FloatArray, wanted: int, options: Oort, able: Able
) -> IntArray:
    """Draw among unknown clients with the most samples and the shortest trips, in proportion to that."""
    if wanted <= 0 or not len(new):
        return np.zeros(0, np.int64)
    # Equally promising ones come in random order, or low numbers would always be first.
    mixed = uniform(draw, len(new), len(new))
    order = mixed[np.argsort(-worth[mixed], kind="stable")]
    shortlist = first_able(new[order], max(wanted, int(options.window * wanted)), able)
    chances = np.maximum(worth[np.searchsorted(new, shortlist)], 1e-12)
    return shortlist[weighted(draw, Weights.of(chances), wanted)] if len(shortlist) else shortlist
