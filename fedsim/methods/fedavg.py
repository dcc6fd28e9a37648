"""FedAvg (McMahan et al. 2017, algorithm 1): every client trains and sends the whole model."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full


class FedAvg(Federated):
    """The whole model trained and sent (McMahan et al. 2017; BERT-FL)."""

    decoders: ClassVar[bool] = True

    kind: Literal["fedavg"] = "fedavg"

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage over all rounds."""
        return [Stage(rounds, (full(architecture.layers),), "full model")]
