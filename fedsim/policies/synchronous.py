"""Everybody of a round starts together, from the same model."""

import numpy as np

from fedsim.clock import shared, synchronous
from fedsim.clock.booking import Round, book
from fedsim.clock.trips import Trips
from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray
from fedsim.policies.base import Play
from fedsim.policies.ground import Ground
from fedsim.rounds import Cohort, State, Turn
from fedsim.server.parameters import GlobalModel


class Synchronous:
    """FedAvg's rounds, with over-selection, deadlines and quorums."""

    mixed = False

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def play(self, turn: Turn, model: GlobalModel, state: State, now_s: float) -> Play:
        """A cohort starts, and the round closes when enough of it are back."""
        part = turn.phase.config.participation
        cohort = self.ground.ask(turn, model, state, now_s, part.cohort_clients)
        if not len(cohort):
            return Play(cohort, empty(cohort, now_s, self.ground.waits(turn, now_s)))
        return Play(cohort, played(self.ground, turn, cohort, now_s))

    def weights(self, staleness: IntArray) -> FloatArray:
        """Nobody is late by a step."""
        return np.ones(len(staleness))


def empty(cohort: Cohort, now_s: float, closed_s: float) -> Trips:
    """A round in which nobody is there."""
    nothing = np.zeros(0)
    return book(
        cohort.prices, cohort.devices, cohort.needed_s, np.zeros(0, np.int8), nothing, nothing, Round(now_s, closed_s)
    )


def played(ground: Ground, turn: Turn, cohort: Cohort, now_s: float) -> Trips:
    """A round of clients who start together, on the clock."""
    split, part = turn.stage.plans[0].split, turn.phase.config.participation
    if split is not None and split.body == "relay":
        return shared.relay(cohort.prices, cohort.devices, now_s, cohort.needed_s)
    if cohort.steps_s is not None:
        return shared.lockstep(cohort.prices, cohort.devices, cohort.steps_s, now_s, cohort.needed_s)
    alone = ground.cohorts.prepared.method.pooled
    return synchronous.play(
        cohort.prices,
        cohort.devices,
        1 if alone else part.clients_per_round if part.cohorts is None else len(part.cohorts[turn.phase_round]),
        cohort.deadline_s,
        now_s,
        quorum=1 if alone else part.quorum,
        needed=cohort.needed_s,
        gone_s=ground.stays_s(turn, cohort, now_s),
        link=None if alone else ground.link,
    )
