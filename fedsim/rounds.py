"""What a round is made of: where it stands, who takes part, what training gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedsim.data.work import IntArray, Work
from fedsim.engine.tasks import ClientReport
from fedsim.fleet.devices import Fleet
from fedsim.methods.base import Stage
from fedsim.model.layout import FloatArray
from fedsim.phases import Phase
from fedsim.plan import Slot
from fedsim.server.parameters import GlobalModel, Pools

CENTRAL = -1
"""The client number, in the trace, of the machine that trains pooled data."""


@dataclass
class State:
    """All that changes from round to round; a checkpoint holds exactly this."""

    model: GlobalModel
    pools: Pools
    kept: np.typing.NDArray[np.int32]
    """Round that left each client's optimizer state, -1 for none; the last entry is the central machine's."""
    round: int = 0
    """Rounds finished."""
    now_s: float = 0.0
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What a round's training gave."""

    means: Mapping[str, FloatArray]
    reports: Mapping[int, ClientReport]
    shares: Mapping[int, float]
    """Each client's share in the average."""


@dataclass(frozen=True)
class Cohort:
    """Who was picked for a round and what each of them is to do."""

    clients: IntArray
    """As in the trace: `CENTRAL` for pooled data."""
    shards: tuple[tuple[int, ...], ...]
    devices: Fleet
    wanted: int
    work: Work
    slots: tuple[tuple[Slot, ...], ...]


@dataclass(frozen=True)
class Turn:
    """Where a round stands in its method. Rounds count over the whole method unless their name says otherwise."""

    phase: Phase
    stage_index: int
    stage: Stage
    stage_first: int
    round: int

    @property
    def phase_round(self) -> int:
        """Within the phase; names the random streams, so that methods meet the same cohorts."""
        return self.round - self.phase.first_round
