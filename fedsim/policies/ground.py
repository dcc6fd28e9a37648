"""Where trips start: who is asked, with which work, and how long each device stays."""

from collections.abc import Collection

import numpy as np

from fedsim.clock.transfers import ServerLink
from fedsim.cohorts import Cohorts
from fedsim.data.work import IntArray
from fedsim.errors import FedsimError
from fedsim.fleet.devices import FloatArray
from fedsim.recruiting import Recruiter
from fedsim.rounds import Cohort, State, Turn
from fedsim.selection import Able
from fedsim.server.parameters import GlobalModel


class Ground:
    """Of one method."""

    def __init__(self, cohorts: Cohorts, recruiter: Recruiter) -> None:
        self.cohorts, self.recruiter, self.world = cohorts, recruiter, cohorts.world
        link = self.world.scenario.fleet.server_link
        self.link = None if link is None else ServerLink(link.downlink_bits_per_s, link.uplink_bits_per_s)

    def ask(
        self,
        turn: Turn,
        model: GlobalModel,
        state: State,
        now_s: float,
        wanted: int,
        *key: int,
        among: Able | None = None,
        busy: Collection[int] = (),
    ) -> Cohort:
        """Clients who are there, priced; `wanted` of them or fewer."""

        def expected_s(some: IntArray) -> FloatArray:
            return self.cohorts.expected_s(turn, some, model, state.pools)

        clients = self.recruiter.ask(turn, state, now_s, wanted, expected_s, *key, among=among, busy=busy)
        return self.cohorts.price(turn, clients, model, state.pools)

    def waits(self, turn: Turn, now_s: float, among: Able | None = None) -> float:
        """When a round closes that finds nobody: when somebody comes, or at the deadline; later than `now_s`.

        Raises:
            FedsimError: Nobody ever will.
        """
        next_s = self.recruiter.next_s(now_s, among)
        if next_s == np.inf:
            name = self.cohorts.prepared.name
            raise FedsimError(f"{name}, round {turn.round}: no client will ever be there again after {now_s:g} s")
        deadline_s = turn.phase.config.participation.deadline_s
        return next_s if deadline_s is None else min(next_s, now_s + deadline_s)

    def stays_s(self, turn: Turn, cohort: Cohort, now_s: float) -> FloatArray:
        """Seconds from the start of their trips after which members vanish, [cohort]; infinite: they do not."""
        return np.minimum(self.there_s(cohort.clients, now_s), self.lifetime_s(turn, cohort))

    def there_s(self, clients: IntArray, now_s: float) -> FloatArray:
        """Seconds for which these clients will be there, [n]."""
        if self.cohorts.prepared.method.pooled:
            return np.full(len(clients), np.inf)
        return self.world.presence.availability.until(clients, now_s)

    def lifetime_s(self, turn: Turn, cohort: Cohort) -> FloatArray:
        """Seconds from the start of their trips after which members drop out or crash, [cohort]."""
        dropout = self.world.presence.dropout
        if dropout is None or self.cohorts.prepared.method.pooled:
            return cohort.crash_s
        return np.minimum(dropout.lifetime_s(cohort.clients, turn.phase.name, turn.phase_round), cohort.crash_s)
