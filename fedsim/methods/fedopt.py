"""FedOpt (Reddi et al. 2021, algorithm 1): clients train as in FedAvg, and the server has an optimizer of its own."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.server import Server


class Stepping(Server):
    """A server that takes steps: with the plain mean this would be FedAvg."""

    kind: Literal["sgd", "fedadagrad", "fedyogi", "fedadam"] = "fedadam"
    """The server's optimizer; `sgd` with `momentum` is FedAvgM."""


class FedOpt(Federated):
    """The whole model trained and sent; the mean change is a gradient for the server (Reddi et al. 2021)."""

    decoders: ClassVar[bool] = True

    kind: Literal["fedopt"] = "fedopt"
    server: Stepping = Stepping()
    """How the mean of the updates becomes the new model; the keys of a server optimizer."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage over all rounds."""
        return [Stage(rounds, (full(architecture.layers),), "full model")]
