"""What split training costs beyond a client's own work: messages across the cut, and the server's FLOPs.

A step is four messages of B * L tokens, each as long as `wire.cut` says: two up, two down, and with the first of them
the length of every sample. In float32 that is 4 * B * L * hidden * 4 bytes, and 4 B.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedsim.cost.flops import flops
from fedsim.cost.parameters import BYTES_PER_PARAMETER
from fedsim.cost.products import Coefficients, Flops
from fedsim.data.work import IntArray, Work
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import Layout, embeddings_layout, head_layout
from fedsim.plan import Split
from fedsim.scenario.phases import Optimizer
from fedsim.wire.cut import LENGTH_BYTES, row_bytes

MESSAGES = 4
"""Of a step: embedded tokens up, hidden states down, their gradient up, the embedded tokens' gradient down."""


def on_client(shape: LocalShape, split: Split | None) -> LocalShape:
    """What a client builds of a local model of this shape: of a split one, embeddings and head."""
    return shape if split is None else replace(shape, depth=0, train_layers=())


@dataclass(frozen=True, eq=False)
class Remote:
    """What trips exchange with the server while they train, and have computed there; one entry a cohort member."""

    messages: IntArray
    cut_upload_bytes: IntArray
    cut_download_bytes: IntArray
    server_flops_forward: IntArray
    server_flops_backward: IntArray
    server_s: npt.NDArray[np.float64]
    """Time that the server needs for it."""


def nowhere(cohort: int) -> Remote:
    """Trips that leave nothing to a server."""
    none = np.zeros(cohort, np.int64)
    return Remote(none, none, none, none, none, np.zeros(cohort))


@dataclass(frozen=True)
class SplitCost:
    """Per unit of work, and once a trip."""

    server: Flops
    server_flops_per_s: float
    row_bytes: int
    """One token in one message."""
    relayed_bytes: int | None = None
    """What a client takes over from the one before it in a relay, and hands on; None: no relay."""

    def price(self, work: Work) -> Remote:
        """Of each client's work."""
        rows = 2 * self.row_bytes * work.tokens
        forward, backward = self.server.forward.total(work), self.server.backward.total(work)
        return Remote(
            messages=MESSAGES * work.batches,
            cut_upload_bytes=rows + LENGTH_BYTES * work.samples,
            cut_download_bytes=rows,
            server_flops_forward=forward,
            server_flops_backward=backward,
            server_s=(forward + backward) / self.server_flops_per_s,
        )


def split_cost(shape: LocalShape, split: Split, optimizer: Optimizer) -> SplitCost:
    """Of training a model of this shape with its layers on the server."""
    whole, client = flops(shape), flops(on_client(shape, split))
    server = Flops(_without(whole.forward, client.forward), _without(whole.backward, client.backward))
    relayed = _relayed_bytes(shape, optimizer if split.relay_optimizer else None) if split.body == "relay" else None
    return SplitCost(server, split.server_flops_per_s, row_bytes(shape.architecture.hidden, split.cut), relayed)


def _relayed_bytes(shape: LocalShape, optimizer: Optimizer | None) -> int:
    """Embeddings and head, and their optimizer's state: two values a parameter for AdamW, one for momentum.

    AdamW also counts its steps, in every run of parameters that share a weight decay.
    """
    parts = (embeddings_layout(shape.architecture), head_layout(shape.architecture, shape.head))
    values, counters = 1, 0
    if optimizer is not None and optimizer.kind == "adamw":
        values, counters = 3, sum(map(_runs, parts))
    elif optimizer is not None and optimizer.momentum:
        values = 2
    return BYTES_PER_PARAMETER * (values * sum(part.size for part in parts) + counters)


def _runs(part: Layout) -> int:
    return (part.decayed > 0) + (part.decayed < part.size)


def _without(whole: Coefficients, part: Coefficients) -> Coefficients:
    return Coefficients(
        whole.token - part.token, whole.squared_token - part.squared_token, whole.position - part.position
    )
