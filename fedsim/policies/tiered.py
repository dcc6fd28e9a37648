"""Clients of like speed make up a tier, and each tier has synchronous rounds of its own: FedAT (Chai et al. 2021).

The server makes a step whenever a tier's round closes: its mean becomes the tier's model, and the global model is a
weighted mean of all tiers' models.
"""

from dataclasses import dataclass, replace

import numpy as np

from fedsim import columns, rng
from fedsim.clock.booking import Round, book
from fedsim.clock.trips import BoolArray, Outcome, Trips
from fedsim.data.work import IntArray
from fedsim.faults import NONE
from fedsim.fleet.devices import FloatArray
from fedsim.policies.base import Play
from fedsim.policies.ground import Ground
from fedsim.policies.synchronous import empty, played
from fedsim.rounds import Cohort, Flights, State, Turn
from fedsim.scenario import policy as specs
from fedsim.selection import Able
from fedsim.server.parameters import GlobalModel, Pools

SURVEYED = 1000
"""Clients whose trips are priced to find where tiers begin."""
_NOBODY = -1
"""Stands for the clients of a tier's round that found none."""


@dataclass(frozen=True, eq=False)
class Running:
    """A tier's round."""

    cohort: Cohort
    trips: Trips
    started: int
    start_s: float


class Tiered:
    """Rounds of one phase."""

    mixed = True

    def __init__(self, ground: Ground, how: specs.Tiered) -> None:
        self.ground, self.how = ground, how
        self._running: dict[int, Running] = {}
        self._bounds: list[tuple[float, float]] | None = None
        """The last client of each tier but the slowest: the length of its trip, and its tie-break."""
        self._nothing: Pools | None = None
        self._tier = np.full(ground.world.scenario.fleet.clients, -1, np.int8)

    def weights(self, staleness: IntArray) -> FloatArray:
        """Tiers are weighted, not updates."""
        return np.ones(len(staleness))

    def play(self, turn: Turn, model: GlobalModel, state: State, now_s: float) -> Play:
        """The round of the tier that is ready first."""
        if len(state.flights) and not self._running:
            self._resume(turn, state)
        for tier in range(self.how.tiers):
            if tier not in self._running:
                self._running[tier] = self._start(turn, model, state, now_s, tier)
        ready = min(self._running, key=lambda tier: (self._running[tier].trips.closed_s, tier))
        ended = self._running.pop(ready)
        parts, plays = [ended.cohort], [self._judged(turn, ended)]
        closed_s = ended.trips.closed_s
        if turn.round == turn.phase.last_round:
            left = [self._running.pop(tier) for tier in sorted(self._running)]
            parts += [run.cohort for run in left]
            plays += [self._recalled(turn, run, closed_s) for run in left]
        cohort, joined = Cohort.join(parts), columns.join(plays)
        trips = replace(joined, opened_s=now_s, closed_s=closed_s)
        return Play(cohort, trips, self._flights(), ready)

    def _start(self, turn: Turn, model: GlobalModel, state: State, now_s: float, tier: int) -> Running:
        busy = {int(client) for run in self._running.values() for client in run.cohort.clients}
        wanted = turn.phase.config.participation.cohort_clients

        cohort = self.ground.ask(turn, model, state, now_s, wanted, tier, among=self._among(turn, tier), busy=busy)
        return self._run(turn, cohort, now_s, tier)

    def _run(self, turn: Turn, cohort: Cohort, now_s: float, tier: int) -> Running:
        if len(cohort):
            return Running(cohort, played(self.ground, turn, cohort, now_s), turn.round, now_s)
        closed_s = self.ground.waits(turn, now_s, self._among(turn, tier))
        return Running(cohort, empty(cohort, now_s, closed_s), turn.round, now_s)

    def _among(self, turn: Turn, tier: int) -> Able:
        def own(clients: IntArray) -> BoolArray:
            mask: BoolArray = self._tiers(turn, clients) == tier
            return mask

        return own

    def _tiers(self, turn: Turn, clients: IntArray) -> IntArray:
        """Tier of each of these clients, 0 being the fastest; among equally fast ones random numbers decide."""
        seed, total = self.ground.world.scenario.seed, len(self._tier)
        ties = rng.field(seed, "tiers", "ties", turn.phase.name)
        if self._bounds is None:
            draw, count = rng.stream(seed, "tiers", turn.phase.name), min(SURVEYED, total)
            some = np.sort(draw.choice(total, count, replace=False))
            known = sorted(zip(self._whole_s(turn, some).tolist(), ties.at(some)[0].tolist(), strict=True))
            self._bounds = [known[-(-tier * count // self.how.tiers) - 1] for tier in range(1, self.how.tiers)]
        new = clients[self._tier[clients] < 0]
        if len(new):
            whole_s, tie = self._whole_s(turn, new), ties.at(new)[0]
            above = [(whole_s > last_s) | ((whole_s == last_s) & (tie > last)) for last_s, last in self._bounds]
            self._tier[new] = np.sum(above, axis=0)
        return self._tier[clients].astype(np.int64)

    def _whole_s(self, turn: Turn, clients: IntArray) -> FloatArray:
        """Length of these clients' trips in the phase's first round if they have nothing yet, [n]."""
        first = turn.at(turn.phase.first_round)
        model = GlobalModel(self.ground.cohorts.prepared.layouts(turn.phase, first.stage), {})
        if self._nothing is None:
            self._nothing = Pools(len(self._tier), len(model.names))
        return self.ground.cohorts.expected_s(first, clients, model, self._nothing)

    def _judged(self, turn: Turn, run: Running) -> Trips:
        """Trips whose updates are too old, or have nothing for the present stage, are unused."""
        late = self.how.max_staleness is not None and turn.round - run.started > self.how.max_staleness
        same = turn.at(run.started).stage_index == turn.stage_index
        if same and not late:
            return run.trips
        mapped = not late and self.how.older_stage == "map"
        fits = np.array([mapped and bool(run.cohort.sent(turn, row)) for row in range(len(run.cohort))], np.bool_)
        lost = run.trips.having(Outcome.completed) & ~fits
        outcome = np.where(lost, Outcome.unused.code, run.trips.outcome).astype(np.int8)
        return replace(run.trips, outcome=outcome)

    def _recalled(self, turn: Turn, run: Running, now_s: float) -> Trips:
        """The trips of a round that is still open when the phase ends, cut off then."""
        cohort, start_s = run.cohort, run.start_s
        stays_s = self.ground.stays_s(turn.at(run.started), cohort, start_s)
        able = cohort.devices.memory_bytes >= cohort.prices.memory_bytes
        given_s = np.where(able, np.minimum(stays_s, now_s - start_s), -1.0)
        back, gone = able & (cohort.needed_s.total_s <= given_s), able & (stays_s <= now_s - start_s)
        codes = [Outcome.unused.code, Outcome.dropped.code, Outcome.late.code]
        outcome = np.select([back, gone, able], codes, Outcome.out_of_memory.code).astype(np.int8)
        of = Round(start_s, now_s)
        return book(cohort.prices, cohort.devices, cohort.needed_s, outcome, start_s, given_s, of)

    def _flights(self) -> Flights:
        """A row for each client under way, and one for each tier that waits for somebody to come."""
        rows = [
            (client, run.started, run.start_s, tier, fault)
            for tier, run in sorted(self._running.items())
            for client, fault in _members(run.cohort)
        ]
        client, started, start_s, tier, fault = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return Flights(
            np.array(client, np.int64),
            np.array(started, np.int64),
            np.array(start_s, np.float64),
            np.full(len(rows), np.inf),
            np.array(tier, np.int64),
            np.array(fault, np.int64),
        )

    def _resume(self, turn: Turn, state: State) -> None:
        """Rounds that were open when the process ended, priced again with the model that they started from."""
        flights = state.flights
        for tier in np.unique(flights.tier).tolist():
            own = np.flatnonzero(flights.tier == tier)
            clients, started = flights.client[own], int(flights.started[own[0]])
            before, model = turn.at(started), state.older[started]
            there = clients != _NOBODY
            cohort = self.ground.cohorts.price(before, clients[there], model, state.pools, flights.fault[own][there])
            self._running[tier] = self._run(before, cohort, float(flights.start_s[own[0]]), tier)


def _members(cohort: Cohort) -> list[tuple[int, int]]:
    """Clients and their faults."""
    return list(zip(cohort.clients.tolist(), cohort.fault.tolist(), strict=True)) or [(_NOBODY, NONE)]
