"""What a round is made of: where it stands, who takes part, what training gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedsim.cost.price import Prices
from fedsim.data.work import IntArray, Work
from fedsim.engine.tasks import ClientReport
from fedsim.fleet.devices import Fleet
from fedsim.methods.base import Stage
from fedsim.model.layout import FloatArray
from fedsim.phases import Goal, Phase
from fedsim.plan import Plan
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.slots import Slots

CENTRAL = -1
"""The client number, in the trace, of the machine that trains pooled data."""


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


@dataclass(frozen=True)
class Trained:
    """What a round's training gave."""

    means: Mapping[str, FloatArray]
    reports: Mapping[int, ClientReport]
    shares: np.typing.NDArray[np.float64]
    """Each member's share in the average, [cohort]; 0 of those whose update did not arrive."""
    importance: FloatArray | None = None
    """Mean importance of the attention heads, where it was measured."""


@dataclass(frozen=True)
class Cohort:
    """Who was picked for a round and what each of them is to do."""

    clients: IntArray
    """As in the trace: `CENTRAL` for pooled data."""
    devices: Fleet
    wanted: int
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
    steps_s: np.typing.NDArray[np.float64] | None = None
    """Duration of each step of each member, [cohort, steps], where they train one model step by step; 0: no step."""
    pooled: tuple[int, ...] = ()
    """Clients whose data the one member trains on; empty: everybody on its own."""

    def sent(self, plans: tuple[Plan, ...], index: int) -> tuple[str, ...]:
        """Groups that a member uploads, bottom first."""
        return plans[int(self.plan[index])].sent(self.slots[index])


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
