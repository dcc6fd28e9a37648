"""FedProx (Li et al. 2020, algorithm 2): FedAvg with a pull towards the global model, and with partial work."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.base import NonNegative, Problem
from fedsim.scenario.participation import Late
from fedsim.scenario.phases import Phases
from fedsim.training.recipe import Recipe


class FedProx(Federated):
    """The whole model trained and sent, with a proximal term (Li et al. 2020)."""

    decoders: ClassVar[bool] = True

    kind: Literal["fedprox"] = "fedprox"
    mu: NonNegative = 0.01
    """Weight of the proximal term (mu / 2) * |w - w_global|^2; 0: none, as in FedAvg."""
    late: Late | None = None
    """What a client does that is too slow for the deadline; null: as `participation.late` of the phase says."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage over all rounds."""
        return [Stage(rounds, (full(architecture.layers),), "full model")]

    def recipe(self) -> Recipe:
        """The proximal term."""
        return Recipe(proximal=self.mu)

    def when_late(self, asked: Late) -> Late:
        """The method's own answer, or the phase's."""
        return self.late or asked

    def phase_problems(self, phases: Phases) -> Iterator[Problem]:
        """Without any deadline nobody is late."""
        parts = [phase.config.participation for phase in phases.federated]
        deadlines = [part.deadline_s or part.deadline_quantile for part in parts]
        if self.late is not None and not any(deadlines):
            yield Problem(("late",), "has no effect: no phase has a participation.deadline_s or deadline_quantile")
