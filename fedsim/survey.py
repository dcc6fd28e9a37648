"""What a scenario's fleet can do with its methods, from prices alone: who has the memory, how long a round takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedsim import plan_costs, rng
from fedsim.cohorts import Cohorts
from fedsim.data.work import IntArray
from fedsim.fleet import presence
from fedsim.fleet.availability import Always
from fedsim.fleet.devices import Fleet, FloatArray
from fedsim.observe.observer import Observer
from fedsim.phases import Phase, Prepared, prepare
from fedsim.plan_costs import PlanCosts
from fedsim.rounds import Turn
from fedsim.scenario.participation import Participation
from fedsim.scenario.schema import Scenario
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.world import World, build

ROUNDS = 400
"""Cohorts drawn to see how long rounds take."""


@dataclass(frozen=True, eq=False)
class Demand:
    """What one phase of one method asks of the clients looked at; every array has shape [clients looked at]."""

    method: str
    phase: str
    memory_bytes: IntArray
    """The most that any of its stages needs."""
    trip_s: FloatArray
    """A trip's length, on average over the phase's rounds, for a client that has nothing yet."""
    able: np.typing.NDArray[np.bool_]
    """The device has the memory for every stage."""
    round_s: FloatArray
    """Lengths of rounds, one a cohort that was drawn among the clients looked at, [rounds]."""
    central: bool = False
    """One machine has everybody's data: the arrays are of length 1, and no device takes part."""


@dataclass(frozen=True, eq=False)
class Survey:
    """A fleet, and what each method asks of it."""

    fleet: Fleet
    """All devices."""
    looked_at: IntArray
    """The clients whose work was priced."""
    demands: tuple[Demand, ...]
    there: FloatArray | None = None
    """Share of the clients looked at that are there, every quarter of an hour of two days; None: always."""

    @property
    def there_h(self) -> FloatArray:
        """The hours that `there` is about."""
        return np.arange(0.0, 48.0, 0.25)


def survey(scenario: Scenario, base: Path, most_clients: int, observer: Observer) -> Survey:
    """Price the work of some of a scenario's clients under each of its methods.

    Args:
        scenario: Whose fleet and methods.
        base: Folder that its paths are relative to.
        most_clients: If the fleet is larger, so many of its clients are drawn.
        observer: Told about progress.

    Raises:
        UserError: Scenario, data and models do not fit together.
    """
    with TemporaryDirectory() as folder, observer.task("preparing the data", None):
        world = build(scenario, base, Path(folder), observer)
        return _survey(world, most_clients, observer)


def _survey(world: World, most_clients: int, observer: Observer) -> Survey:
    clients = world.scenario.fleet.clients
    prepared = [prepare(world, name) for name in world.scenario.methods]
    cohort = max((phase.config.participation.cohort_clients for item in prepared for phase in item.phases), default=1)
    draw = rng.stream(world.scenario.seed, "survey")
    looked_at = np.sort(draw.choice(clients, min(max(most_clients, cohort), clients), replace=False))
    costs = plan_costs.measure(prepared, None, observer)
    demands: list[Demand] = []
    with observer.task("pricing", sum(len(item.phases) for item in prepared)) as advance:
        for item in prepared:
            for phase in item.phases:
                demands.append(_demand(world, item, costs, phase, looked_at))
                advance(1)
    own = presence.build(world.scenario.fleet, world.fleet, world.base, world.scenario.seed)
    for note in own.notes:
        observer.note(note)
    found = Survey(world.fleet, looked_at, tuple(demands))
    if isinstance(own.availability, Always):
        return found
    shares = [own.availability.at(looked_at, 3600 * hour).mean() for hour in found.there_h.tolist()]
    return replace(found, there=np.array(shares))


def _demand(world: World, item: Prepared, costs: PlanCosts, phase: Phase, clients: IntArray) -> Demand:
    """One phase of one method; stages with the same plans are priced once."""
    cohorts = Cohorts(item, world, costs)
    central, asked = cohorts.central is not None, phase
    if not central:
        part = Participation(clients_per_round=len(clients))
        asked = replace(phase, config=phase.config.model_copy(update={"participation": part}))
    memory = np.zeros(1 if central else len(clients), np.int64)
    total_s, able = np.zeros(len(memory)), np.ones(len(memory), np.bool_)
    for turn, rounds in _turns(asked):
        model = GlobalModel(item.layouts(phase, turn.stage), {})
        cohort = cohorts.price(turn, clients, model, Pools(world.scenario.fleet.clients, len(model.names)))
        memory = np.maximum(memory, cohort.prices.memory_bytes)
        total_s += rounds * cohort.needed_s.total_s
        able &= cohort.devices.memory_bytes >= cohort.prices.memory_bytes
    trip_s = total_s / phase.config.rounds
    round_s = trip_s if central else _rounds(trip_s, able, phase.config.participation, world.scenario.seed)
    return Demand(item.name, phase.name, memory, trip_s, able, round_s, central)


def _turns(phase: Phase) -> Sequence[tuple[Turn, int]]:
    """The first round of stages that differ, and in how many rounds there is such a stage."""
    found: dict[object, tuple[Turn, int]] = {}
    first = phase.first_round
    for index, stage in enumerate(phase.stages):
        turn = Turn(phase, index, stage, first, first, first)
        key = (stage.plans, stage.head, stage.tested)
        before, rounds = found.get(key, (turn, 0))
        found[key] = (before, rounds + stage.rounds)
        first += stage.rounds
    return list(found.values())


def _rounds(trip_s: FloatArray, able: np.typing.NDArray[np.bool_], part: Participation, seed: int) -> FloatArray:
    """How long rounds take: until the last update that is wanted, or the last that comes, or the deadline."""
    size = part.cohort_clients if part.cohorts is None else max(map(len, part.cohorts))
    wanted = part.clients_per_round if part.cohorts is None else size
    draw = rng.stream(seed, "survey", "rounds")
    back_s = np.where(able, trip_s, np.inf)
    lengths = np.zeros(ROUNDS)
    for i in range(ROUNDS):
        cohort = np.sort(back_s[draw.choice(len(trip_s), min(size, len(trip_s)), replace=False)])
        there = cohort[np.isfinite(cohort)]
        last = there[min(wanted, len(there)) - 1] if len(there) else 0.0
        late = part.deadline_s is not None and len(there) > 0 and (len(there) < wanted or last > part.deadline_s)
        lengths[i] = part.deadline_s if late and part.deadline_s is not None else last
    return lengths
