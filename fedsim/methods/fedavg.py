"""FedAvg (McMahan et al. 2017, algorithm 1): every client trains and sends the whole model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsim.methods.base import PhaseName, Stage
from fedsim.plan import full


@dataclass(frozen=True)
class FedAvg:
    """One stage, one plan: the full model."""

    pooled: bool = False

    def stages(self, phase: PhaseName, rounds: int, layers: int) -> Sequence[Stage]:
        """A single stage over all rounds."""
        return [Stage(rounds, full(layers), "full model")]
