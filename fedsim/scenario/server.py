"""The `server` option of a method: how the mean of the clients' weights becomes the next global model."""

from collections.abc import Iterator
from typing import Literal

from fedsim.scenario.base import Config, Flag, Positive, Problem, Rate

ADAPTIVE = ("fedadagrad", "fedyogi", "fedadam")
"""Server optimizers with a step size of its own for every parameter (Reddi et al. 2021, algorithm 2)."""


class Server(Config):
    """The server's optimizer, whose gradient is the mean of the clients' changes with its sign turned."""

    kind: Literal["average", "sgd", "fedadagrad", "fedyogi", "fedadam"] = "average"
    """`average`: the mean is the new model (FedAvg); `sgd`: a step towards it (with `momentum`, FedAvgM)."""
    learning_rate: Positive | None = None
    """Step size eta; null: 1 for `sgd`, 0.001 for the adaptive ones."""
    momentum: Rate | None = None
    """`sgd`: share of the last step that is made again, null: 0. Adaptive: beta_1, null: 0.9, for `fedadagrad` 0."""
    beta2: Rate = 0.99
    """`fedyogi` and `fedadam`: how slowly the second moment follows the squared changes."""
    tau: Positive = 1e-3
    """Adaptive: added to the root of the second moment; the larger, the nearer to `sgd`."""
    initial_variance: Literal["tau_squared", "zero"] = "tau_squared"
    """Adaptive: the second moment before the first step."""
    bias_correction: Flag = False
    """`fedyogi` and `fedadam`: undo the pull of both moments towards their first values, as Adam does."""
    on_new_stage: Literal["keep", "reset"] = "keep"
    """When a method goes on to train another part: keep what is known of each group, or forget all of it."""

    @property
    def eta(self) -> float:
        """The step size."""
        return self.learning_rate or (1e-3 if self.kind in ADAPTIVE else 1.0)

    @property
    def beta1(self) -> float:
        """Weight of the first moment's past (adaptive), or of the past steps (SGD)."""
        if self.momentum is not None:
            return self.momentum
        return 0.9 if self.kind in ("fedyogi", "fedadam") else 0.0

    def problems(self) -> Iterator[Problem]:
        """Nothing is set that this optimizer does not have."""
        moments = ("fedyogi", "fedadam")
        owners = {
            "learning_rate": ("sgd", *ADAPTIVE),
            "momentum": ("sgd", *ADAPTIVE),
            "beta2": moments,
            "tau": ADAPTIVE,
            "initial_variance": ADAPTIVE,
            "bias_correction": moments,
            "on_new_stage": ("sgd", *ADAPTIVE),
        }
        for name, kinds in owners.items():
            if self.changed(name) and self.kind not in kinds:
                yield Problem((name,), f"goes with kind: {', '.join(kinds)}; kind is {self.kind}")
