"""Who is asked to take part: a method's selection among the clients that are there."""

from collections.abc import Callable, Collection
from functools import cached_property

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.fleet.availability import Always, next_change_s
from fedsim.fleet.devices import FloatArray
from fedsim.phases import Prepared
from fedsim.rounds import State, Turn
from fedsim.scenario import selection as specs
from fedsim.selection import (
    Able,
    Oort,
    Record,
    Weights,
    in_turn,
    oort,
    power_of_choice,
    replayed,
    staying,
    uniform,
    weighted,
)
from fedsim.world import World

Expected = Callable[[IntArray], FloatArray]
"""Seconds that the trips of these clients are expected to take, [n]."""


class Recruiter:
    """Asks clients for one method.

    Without availability who is asked comes from the seed and the round alone, so that every method of a scenario meets
    the same clients.
    """

    def __init__(self, prepared: Prepared, world: World, last_picked: int = -1) -> None:
        self.prepared, self.world = prepared, world
        self.clients = world.scenario.fleet.clients
        self.last_picked = last_picked
        """Where clients are picked in turn."""
        # pooled data is there whoever of its owners is
        self.always = prepared.method.pooled or isinstance(world.presence.availability, Always)

    def ask(
        self,
        turn: Turn,
        state: State,
        now_s: float,
        wanted: int,
        expected_s: Expected,
        *key: int,
        among: Able | None = None,
        busy: Collection[int] = (),
    ) -> IntArray:
        """Distinct clients in ascending order, [wanted] or fewer.

        Args:
            turn: The round that they start in.
            state: What is known of clients by now.
            now_s: When they start.
            wanted: How many.
            expected_s: Length of their trips.
            key: Tells several calls of a round apart.
            among: Only these; None: all.
            busy: Not these.
        """
        part, phase = turn.phase.config.participation, turn.phase.name
        able = self._able(now_s, part.selection.stay, expected_s, among, busy)
        if part.cohorts is not None:
            return replayed(part.cohorts, turn.phase_round, able)
        draw = rng.stream(self.world.scenario.seed, "cohort", phase, turn.phase_round, *key)
        picked = self._picked(part.selection, draw, turn, state, wanted, able)
        if isinstance(part.selection, specs.InTurn) and len(picked):
            self.last_picked = int(picked[-1])
        return np.sort(picked)

    def next_s(self, now_s: float, among: Able | None = None) -> float:
        """When the next client comes that is away now, or, if nobody is away, when the first leaves; infinite: never.

        Args:
            now_s: From when on.
            among: Only these; None: all.
        """
        return next_change_s(self.world.presence.availability, self.clients, now_s, among)

    def _picked(
        self,
        how: specs.AnySelection,
        draw: np.random.Generator,
        turn: Turn,
        state: State,
        wanted: int,
        able: Able | None,
    ) -> IntArray:
        match how:
            case specs.Uniform():
                return uniform(draw, self.clients, wanted, able)
            case specs.BySamples():
                return weighted(draw, self._by_samples, wanted, able)
            case specs.InTurn():
                return in_turn(self.clients, wanted, self.last_picked, able)
            case specs.PowerOfChoice():
                record = self._record(state)
                return power_of_choice(draw, self._by_samples, wanted, how.candidates, record.loss, able)
            case specs.Oort():
                options = Oort(**how.model_dump(exclude={"kind", "stay"}))
                return oort(draw, self._record(state), turn.phase_round, wanted, options, able)

    @cached_property
    def _by_samples(self) -> Weights:
        return Weights.of(self.world.sizes())

    def _record(self, state: State) -> Record:
        assert state.record is not None
        return Record(self.world.sizes(), **state.record)

    def _able(
        self, now_s: float, stay: bool, expected_s: Expected, among: Able | None, busy: Collection[int]
    ) -> Able | None:
        """Who may be picked; None: everybody."""
        if self.always and among is None and not busy:
            return None
        there = staying(self.world.presence.availability, now_s, expected_s if stay else None)
        taken = np.fromiter(busy, np.int64, len(busy))

        def able(clients: IntArray) -> np.typing.NDArray[np.bool_]:
            may = ~np.isin(clients, taken)
            for rule in (None if self.always else there, among):  # pricing is dearer than looking who is there
                if rule is not None:
                    may[may] = rule(clients[may])
            return may

        return able


def learns(how: specs.AnySelection) -> bool:
    """This selection looks at what clients have reported: losses and lengths of their trips."""
    return isinstance(how, specs.PowerOfChoice | specs.Oort)


def unknown(clients: int) -> dict[str, np.typing.NDArray[np.generic]]:
    """What is known of clients when none has reported anything: the arrays of `Record`, [clients] each."""
    return {
        "loss": np.full(clients, np.nan),
        "seconds": np.full(clients, np.nan),
        "last_round": np.zeros(clients, np.int64),
    }
