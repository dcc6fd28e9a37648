"""SCAFFOLD (Karimireddy et al. 2020, algorithm 1): control variates against the drift of clients."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.base import Problem, dotted
from fedsim.scenario.phases import Phases
from fedsim.training.recipe import Recipe


class Scaffold(Federated):
    """The whole model trained and sent, with control variates as long as the model (Karimireddy et al. 2020)."""

    decoders: ClassVar[bool] = True

    kind: Literal["scaffold"] = "scaffold"
    weighting: Literal["samples", "uniform"] = "uniform"
    """A client's weight in the average: its number of samples, or one, as in the paper."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage over all rounds."""
        return [Stage(rounds, (full(architecture.layers),), "full model")]

    def recipe(self) -> Recipe:
        """Corrected gradients."""
        return Recipe(control=True)

    def synchronous(self) -> str | None:
        """Variates are differences from the model that everybody started from."""
        return "corrects gradients by what all clients of a round start from: take policy: synchronous"

    def problems(self) -> Iterator[Problem]:
        """A variate is the sum of small differences over many rounds, and is sent as it is."""
        yield from super().problems()
        for name in ("upload", "download", "what"):
            if self.changed(name):
                yield Problem((name,), "is not for SCAFFOLD, whose weights and control variates are sent as they are")

    def phase_problems(self, phases: Phases) -> Iterator[Problem]:
        """A control variate is a mean gradient, which steps of plain SGD alone give away."""
        for phase in phases.federated:
            local, key = phase.config.local, dotted(phase.key)
            if local.optimizer.kind != "sgd" or local.optimizer.momentum:
                wanted = "{kind: sgd, learning_rate: ...} without momentum"
                yield Problem((), f"needs plain SGD: set {key}.local.optimizer to {wanted}")
            if local.clip_norm is not None:
                yield Problem((), f"needs gradients as they are: remove {key}.local.clip_norm")
