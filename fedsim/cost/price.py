"""The price of a trip before it runs: bytes each way, FLOPs and peak memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from fedsim.cost.flops import Flops, flops
from fedsim.cost.memory import Polynomial
from fedsim.cost.parameters import trained_layouts
from fedsim.data.work import IntArray, Work
from fedsim.model.architecture import LocalShape
from fedsim.plan import PartName
from fedsim.wire import PLAIN, Codec

VersionArray = npt.NDArray[np.int32]

NEVER = -1
"""Version of a group that a client has not downloaded yet."""


@dataclass(frozen=True)
class Prices:
    """One entry a cohort member in every array."""

    download_bytes: IntArray
    upload_bytes: IntArray
    flops_forward: IntArray
    flops_backward: IntArray
    memory_bytes: IntArray


def chosen(prices: Sequence[Prices], plan: IntArray) -> Prices:
    """Of several plans' prices for the same cohort, those of the plan that each member was given."""
    rows = np.arange(len(plan))
    columns = {f.name: np.stack([getattr(p, f.name) for p in prices])[plan, rows] for f in fields(Prices)}
    return Prices(**columns)


@dataclass(frozen=True)
class PlanCost:
    """What a plan costs per unit of work; which layers fill the slots does not matter."""

    flops: Flops
    memory: Polynomial
    """Peak of a training step."""
    upload_bytes: int
    """Everything trained and sent."""
    upload_parameters: int
    """Numbers in it."""


def plan_cost(
    shape: LocalShape, memory: Polynomial, private: Collection[PartName] = (), codec: Codec = PLAIN
) -> PlanCost:
    """Cost of training a local model of this shape; `memory` as `peak_polynomial` measures it.

    Args:
        shape: the local model.
        memory: of a training step.
        private: parts that are trained and not sent.
        codec: how the others are sent.
    """
    sent = trained_layouts(shape, private)
    return PlanCost(
        flops=flops(shape),
        memory=memory,
        upload_bytes=sum(codec.payload_bytes(layout) for layout in sent),
        upload_parameters=sum(codec.values(layout) for layout in sent),
    )


def price(cost: PlanCost, work: Work, download_bytes: IntArray) -> Prices:
    """Prices of a cohort that shares a plan; `work` and `download_bytes` have one entry a member."""
    return Prices(
        download_bytes=download_bytes,
        upload_bytes=np.full(len(work.batches), cost.upload_bytes, dtype=np.int64),
        flops_forward=cost.flops.forward.total(work),
        flops_backward=cost.flops.backward.total(work),
        memory_bytes=cost.memory.at(work.largest_batch),
    )


def download_bytes(
    held: VersionArray, current: VersionArray, needed: npt.NDArray[np.bool_], group_bytes: IntArray
) -> IntArray:
    """Bytes that bring each client's pool up to date, shape [cohort].

    Args:
        held: version of each group that each client last downloaded, or `NEVER`; shape [cohort, groups].
        current: version of each group at the server; shape [groups].
        needed: groups that the client must have; shape [groups], or [cohort, groups] where plans differ.
        group_bytes: size of each group; shape [groups].
    """
    stale = (held != current) & needed
    total: IntArray = stale @ group_bytes
    return total
