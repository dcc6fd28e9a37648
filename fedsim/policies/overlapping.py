"""Rounds that overlap: whenever a client is back another one starts, and the server makes a step of every so many.

FedBuff (Nguyen et al. 2022) and, with a step for every update, FedAsync (Xie et al. 2019). A client starts from the
model as it is then, and nobody starts again before the server's next step has made a new one. What ends at the same
moment ends in the order in which it started, and before anything starts.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from fedsim.clock.booking import Round, book
from fedsim.clock.trips import BoolArray, Outcome
from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray
from fedsim.policies import staleness as rules
from fedsim.policies.base import Play
from fedsim.policies.ground import Ground
from fedsim.rounds import Cohort, Flights, State, Turn
from fedsim.scenario.policy import Asynchronous, Buffered
from fedsim.scenario.selection import InTurn
from fedsim.server.parameters import GlobalModel

PATIENCE = 10
"""A step is given up when so many times `concurrency` trips have come to nothing."""


class Flight(NamedTuple):
    """A trip under way."""

    end_s: float
    order: int
    """By which trips that end at the same moment go."""
    batch: int
    """Where its price is: in which cohort that was asked together ..."""
    row: int
    """... and where in it."""
    start_s: float
    stays_s: float
    """Time after which its device vanishes."""


class Asked(NamedTuple):
    """A client that may start."""

    batch: int
    row: int
    leaves_s: float
    """When it will no longer be there."""
    lifetime_s: float
    """Time from its start after which it drops out."""


class Landed(NamedTuple):
    """A trip that ended in this round."""

    flight: Flight
    outcome: Outcome
    given_s: float
    """Time from its start to its end; below 0: it never started."""


@dataclass
class Opening:
    """What a round that is open knows."""

    turn: Turn
    model: GlobalModel
    state: State
    landed: list[Landed] = field(default_factory=list)
    waiting: list[Asked] = field(default_factory=list)
    """Clients that were asked and have not started, the next one last."""
    tried: set[int] = field(default_factory=set)
    """Clients that have come back in this round, or are not able to train."""
    calls: int = 0
    """How often clients were asked."""

    @property
    def wanted(self) -> int:
        """Updates for the server's next step."""
        return self.turn.phase.config.participation.clients_per_round

    def untried(self, clients: IntArray) -> BoolArray:
        """Which of these clients may still take part."""
        return ~np.isin(clients, list(self.tried))


class Overlapping:
    """Trips of one phase."""

    def __init__(self, ground: Ground, how: Buffered | Asynchronous) -> None:
        self.ground, self.how = ground, how
        self.mixed = isinstance(how, Asynchronous)
        self._air: list[Flight] = []
        self._batches: dict[int, Cohort] = {}
        self._busy: set[int] = set()
        self._next = 0
        """Number for the next trip, or the next batch."""

    def weights(self, staleness: IntArray) -> FloatArray:
        """By the policy's rule."""
        if isinstance(self.how, Asynchronous):
            return rules.mixing(self.how, staleness)
        return rules.buffered(self.how, staleness)

    def play(self, turn: Turn, model: GlobalModel, state: State, now_s: float) -> Play:
        """The trips that end until the server has the updates for its next step."""
        if len(state.flights) and not self._air:
            self._resume(turn, state)
        opening, opened_s, counted = Opening(turn, model, state), now_s, 0
        while counted < opening.wanted:
            if self._air and self._air[0].end_s <= now_s:
                counted += self._land(opening, heappop(self._air))
                continue
            enough = self._fill(opening, now_s)
            if self._air:
                now_s = max(now_s, self._air[0].end_s)
            elif opening.landed and not (enough and self.ground.recruiter.next_s(now_s, opening.untried) < np.inf):
                break
            else:
                now_s = self.ground.waits(turn, now_s, opening.untried)
            if not counted and len(opening.landed) >= PATIENCE * self.how.concurrency:
                break
        if turn.round == turn.phase.last_round:
            opening.landed += [Landed(flight, Outcome.late, now_s - flight.start_s) for flight in self._air]
            self._air.clear()
            self._busy.clear()
        play = self._play(opening, Round(opened_s, now_s))
        under_way = {flight.batch for flight in self._air}
        self._batches = {batch: cohort for batch, cohort in self._batches.items() if batch in under_way}
        return play

    def _fill(self, opening: Opening, now_s: float) -> bool:
        """Start clients until as many are under way as may be, or nobody is left to ask.

        Returns:
            Whether everybody was asked who is there; or else too many of them are not able to train.
        """
        unable = 0
        while len(self._air) < self.how.concurrency:
            if unable >= self.how.concurrency:
                return False
            if not opening.waiting and not self._ask(opening, now_s):
                break
            asked = opening.waiting.pop()
            if asked.leaves_s <= now_s:
                continue  # it was there when it was asked
            stays_s = min(asked.leaves_s - now_s, asked.lifetime_s)
            flight = Flight(now_s, self._number(), asked.batch, asked.row, now_s, stays_s)
            cohort = self._batches[asked.batch]
            if cohort.devices.memory_bytes[asked.row] < cohort.prices.memory_bytes[asked.row]:
                opening.landed.append(Landed(flight, Outcome.out_of_memory, -1.0))
                opening.tried.add(self._client(flight))
                unable += 1
            else:
                self._launch(flight)
        return True

    def _ask(self, opening: Opening, now_s: float) -> bool:
        """Ask for as many clients as can start now, and for some who will start in this round."""
        key = (opening.calls,) if opening.calls else ()
        count = self.how.concurrency - len(self._air)
        if opening.calls and not self._one_by_one(opening.turn):
            count = opening.wanted
        busy = self._busy | opening.tried
        cohort = self.ground.ask(opening.turn, opening.model, opening.state, now_s, count, *key, busy=busy)
        opening.calls += 1
        batch = self._number()
        self._batches[batch] = cohort
        leaves_s = (now_s + self.ground.there_s(cohort.clients, now_s)).tolist()
        lifetime_s = self.ground.lifetime_s(opening.turn, cohort).tolist()
        opening.waiting = [Asked(batch, row, leaves_s[row], lifetime_s[row]) for row in reversed(range(len(cohort)))]
        return len(cohort) > 0

    def _one_by_one(self, turn: Turn) -> bool:
        """Nobody may be asked ahead: those who start are there for long enough, or the next in turn."""
        selection = turn.phase.config.participation.selection
        return selection.stay or isinstance(selection, InTurn)

    def _launch(self, flight: Flight) -> None:
        total_s = float(self._batches[flight.batch].needed_s.total_s[flight.row])
        heappush(self._air, flight._replace(end_s=flight.start_s + min(total_s, flight.stays_s)))
        self._busy.add(self._client(flight))

    def _land(self, opening: Opening, flight: Flight) -> bool:
        """What a trip that ends has come to; whether it counts."""
        turn, cohort, client = opening.turn, self._batches[flight.batch], self._client(flight)
        self._busy.discard(client)
        opening.tried.add(client)
        total_s, started = float(cohort.needed_s.total_s[flight.row]), int(cohort.started[flight.row])
        if total_s > flight.stays_s:
            outcome = Outcome.dropped
        elif self.how.max_staleness is not None and turn.round - started > self.how.max_staleness:
            outcome = Outcome.unused
        else:
            outcome = Outcome.completed if self._fits(turn, cohort, flight.row) else Outcome.unused
        opening.landed.append(Landed(flight, outcome, min(total_s, flight.stays_s)))
        return outcome is Outcome.completed

    def _fits(self, turn: Turn, cohort: Cohort, row: int) -> bool:
        """It has something for the stage that it meets."""
        if turn.at(int(cohort.started[row])).stage_index == turn.stage_index:
            return True
        return self.how.older_stage == "map" and bool(cohort.sent(turn, row))

    def _client(self, flight: Flight) -> int:
        return int(self._batches[flight.batch].clients[flight.row])

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _play(self, opening: Opening, of: Round) -> Play:
        """The trips as a cohort: in order of their models, then of their clients, as in a synchronous round."""
        numbers = sorted(self._batches)
        whole = Cohort.join([self._batches[batch] for batch in numbers])
        sizes = [len(self._batches[batch]) for batch in numbers]
        first = dict(zip(numbers, np.cumsum([0, *sizes]).tolist(), strict=False))
        landed, air = opening.landed, sorted(self._air, key=lambda flight: flight.order)
        rows = np.array([first[trip.flight.batch] + trip.flight.row for trip in landed], np.int64)
        order = np.lexsort((whole.clients[rows], whole.started[rows]))
        cohort = whole.take(rows[order])
        trips = book(
            cohort.prices,
            cohort.devices,
            cohort.needed_s,
            np.array([trip.outcome.code for trip in landed], np.int8)[order],
            np.array([trip.flight.start_s for trip in landed], np.float64)[order],
            np.array([trip.given_s for trip in landed], np.float64)[order],
            of,
        )
        left = np.array([first[flight.batch] + flight.row for flight in air], np.int64)
        starts_s, stays_s = (np.array([getattr(f, name) for f in air], np.float64) for name in ("start_s", "stays_s"))
        nobody = np.zeros_like(left)
        flights = Flights(whole.clients[left], whole.started[left], starts_s, stays_s, nobody, whole.fault[left])
        return Play(cohort, trips, flights)

    def _resume(self, turn: Turn, state: State) -> None:
        """Trips that were under way when the process ended, priced again with the model that they started from."""
        flights, batches = state.flights, {}
        self._next = len(flights)  # numbers of trips go on after theirs
        for started in np.unique(flights.started).tolist():
            own = np.flatnonzero(flights.started == started)
            own = own[np.argsort(flights.client[own])]
            batches[started] = self._number()
            self._batches[batches[started]] = self.ground.cohorts.price(
                turn.at(started), flights.client[own], state.older[started], state.pools, flights.fault[own]
            )
        columns = (flights.client, flights.started, flights.start_s, flights.stays_s)
        for order, (client, started, start_s, stays_s) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            batch = batches[started]
            row = int(np.searchsorted(self._batches[batch].clients, client))
            self._launch(Flight(start_s, order, batch, row, start_s, stays_s))
