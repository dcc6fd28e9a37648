"""What a round is made of: where it stands, who takes part, what training gave."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedsim import columns
from fedsim.clock.trips import Durations
from fedsim.cost.price import Prices
from fedsim.data.work import IntArray, Work
from fedsim.engine.tasks import ClientReport
from fedsim.fleet.devices import Fleet
from fedsim.methods.base import Stage
from fedsim.model.layout import FloatArray
from fedsim.phases import Goal, Phase
from fedsim.plan import Plan
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.server.tiers import Tiers
from fedsim.slots import Slots


def _nobody() -> IntArray:
    return np.zeros(0, np.int64)


CENTRAL = -1
"""The client number, in the trace, of the machine that trains pooled data."""


@dataclass(frozen=True, eq=False)
class Flights:
    """Trips under way, in the order in which they started; every array has shape [flights]."""

    client: IntArray = field(default_factory=_nobody)
    started: IntArray = field(default_factory=_nobody)
    """Round in which they started."""
    start_s: np.typing.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    stays_s: np.typing.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Time from their start after which their devices vanish, as far as that must be remembered."""
    tier: IntArray = field(default_factory=_nobody)
    """Of clients of like speed, from 0."""
    fault: IntArray = field(default_factory=_nobody)
    """Which of the scenario's faults they meet."""

    def __len__(self) -> int:
        return len(self.client)


@dataclass
class State:
    """All that changes from round to round; a checkpoint holds exactly this."""

    model: GlobalModel
    pools: Pools
    kept: np.typing.NDArray[np.int32]
    """Round in which each client last left something on its disk, -1 for none; last entry: the central machine."""
    round: int = 0
    """Rounds finished."""
    now_s: float = 0.0
    quality: dict[str, float] = field(default_factory=dict)
    server: dict[str, FloatArray] = field(default_factory=dict)
    """What the server keeps from step to step, by name."""
    importance: FloatArray | None = None
    """Of the attention heads, summed over the rounds that measured it; None before the first of them."""
    record: dict[str, np.typing.NDArray[Any]] | None = None
    """What clients have reported, where a selection looks at it; see `fedsim.recruiting`."""
    last_picked: int = -1
    """Client that was picked last, where they are picked in turn."""
    told: int = -1
    """First round of the stage that was described last."""
    empty_rounds: int = 0
    """Rounds without a usable update, since the last one with some."""
    flights: Flights = field(default_factory=Flights)
    """Trips that are under way between two rounds."""
    older: dict[int, GlobalModel] = field(default_factory=dict)
    """Models that trips under way have started from, by round."""
    tiers: Tiers = field(default_factory=Tiers)
    """What tiers of clients have sent."""


@dataclass(frozen=True)
class Trained:
    """What a round's training gave."""

    means: Mapping[str, FloatArray]
    reports: Mapping[int, ClientReport]
    shares: np.typing.NDArray[np.float64]
    """Each member's share in the average, [cohort]; 0 of those whose update did not arrive."""
    scale: np.typing.NDArray[np.float64] | None = None
    """What members' updates are multiplied by since they are stale, [cohort]; None: 1 for all."""
    importance: FloatArray | None = None
    """Mean importance of the attention heads, where it was measured."""


@dataclass(frozen=True)
class Cohort:
    """Who was picked for a round and what each of them is to do."""

    clients: IntArray
    """As in the trace: `CENTRAL` for pooled data."""
    devices: Fleet
    sizes: IntArray
    """Samples of each member that count in this round, [cohort]."""
    work: Work
    """What each of them does."""
    planned: Work
    """What each of them would do without a deadline."""
    plan: IntArray
    """Index into the stage's plans, [cohort]."""
    slots: Slots
    needed: np.typing.NDArray[np.bool_]
    """Groups that each client must hold in their current version, [cohort, groups]."""
    prices: Prices
    windows: np.typing.NDArray[np.int32]
    """Number of the part of the global layers that each client holds, 0 for everything, [cohort]."""
    needed_s: Durations
    """How long each leg takes over the device's own connection."""
    deadline_s: float | None
    """Longest time that a trip may take; None: no limit."""
    started: IntArray
    """Round in which each member started, [cohort]; before the present one only where rounds overlap."""
    fault: IntArray
    """Which of the scenario's faults each member meets, [cohort]; `fedsim.faults.NONE`: none."""
    crash_s: np.typing.NDArray[np.float64]
    """Time from its start after which a fault makes each member's device vanish, [cohort]; infinite: it does not."""
    steps_s: np.typing.NDArray[np.float64] | None = None
    """Duration of each step of each member, [cohort, steps], where they train one model step by step; 0: no step."""
    pooled: tuple[int, ...] = ()
    """Clients whose data the one member trains on; empty: everybody on its own."""

    def __len__(self) -> int:
        return len(self.clients)

    def take(self, rows: IntArray) -> "Cohort":
        """Some of the members, in this order."""
        return replace(columns.take(self, rows), slots=self.slots.take(rows))

    @classmethod
    def join(cls, cohorts: "Sequence[Cohort]") -> "Cohort":
        """All members of several cohorts."""
        return replace(columns.join(cohorts), slots=Slots.join([cohort.slots for cohort in cohorts]))

    def planned_by(self, turn: "Turn", index: int) -> Plan:
        """A member's plan, from the stage that it started in."""
        return turn.at(int(self.started[index])).stage.plans[int(self.plan[index])]

    def alike(self, turn: "Turn", members: IntArray) -> Iterator[tuple[Plan, int, IntArray]]:
        """These members by plan and by the round in which they started, however many they are."""
        plans = int(self.plan.max(initial=0)) + 1
        code = self.started[members] * plans + self.plan[members]
        for own in np.unique(code).tolist():
            started, number = divmod(own, plans)
            yield turn.at(started).stage.plans[number], started, members[code == own]

    def sent(self, turn: "Turn", index: int) -> tuple[str, ...]:
        """Groups that a member uploads and that count in this round, bottom first."""
        names = self.planned_by(turn, index).sent(self.slots[index])
        return tuple(name for name in names if turn.counts(name, int(self.started[index])))

    def changed(self, turn: "Turn", members: IntArray) -> list[str]:
        """Groups that any of these members uploads and that count in this round, in alphabetical order."""
        names = set[str]()
        for plan, started, alike in self.alike(turn, members):
            names |= {name for name in self.slots.sent(plan, alike) if turn.counts(name, started)}
        return sorted(names)


@dataclass(frozen=True)
class Turn:
    """Where a round stands in its method. Rounds count over the whole method unless their name says otherwise."""

    phase: Phase
    stage_index: int
    stage: Stage
    stage_first: int
    state_first: int
    """First round whose optimizer states still count: the stage's own, or of the stage that it continues."""
    round: int

    def at(self, round_: int) -> "Turn":
        """Another round of the same phase."""
        return self if round_ == self.round else turn_of(self.phase, round_)

    def counts(self, name: str, started: int) -> bool:
        """A group that was trained in another round, and maybe in an older stage, has its place in this one."""
        before = self.at(started).stage_index
        if before == self.stage_index:
            return True
        trained = any(name in plan.trainable for plan in self.stage.plans)
        return trained and name not in self.phase.replaced(before, self.stage_index)

    @property
    def goal(self) -> Goal:
        """What is learned."""
        return self.phase.goal(self.stage)

    @property
    def phase_round(self) -> int:
        """Within the phase; names the random streams, so that methods meet the same cohorts."""
        return self.round - self.phase.first_round

    def window(self, number: int) -> int:
        """A number for the part of the global layers that one of the stage's plans holds; 0: all of it."""
        width = self.stage.plans[number].width
        moves = self.phase_round if width.roll_units else 0
        return 0 if width.rate == 1.0 else 1 + number + len(self.stage.plans) * moves


def turn_of(phase: Phase, round_: int) -> Turn:
    """A round of a phase.

    Raises:
        IndexError: the phase has no such round.
    """
    first = since = phase.first_round
    for index, stage in enumerate(phase.stages):
        since = since if stage.continues else first
        if first <= round_ < first + stage.rounds:
            return Turn(phase, index, stage, first, since, round_)
        first += stage.rounds
    raise IndexError(f"phase {phase.name} has no round {round_}")
