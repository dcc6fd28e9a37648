"""Training on the pooled data of the cohort: what federated learning is measured against (BERT-C)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from fedsim.methods.base import Method, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.base import Text


class Centralized(Method):
    """All the cohort's data in one place, trained by one machine (BERT-C)."""

    pooled: ClassVar[bool] = True
    decoders: ClassVar[bool] = True

    kind: Literal["centralized"] = "centralized"
    device: Text = "server_gpu"
    """Device class of that machine."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """The full model, on exactly the samples that the cohort would have trained on."""
        return [Stage(rounds, (full(architecture.layers),), "full model")]
