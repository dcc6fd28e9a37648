"""The price of a trip before it runs: bytes each way, FLOPs and peak memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedsim.cost.flops import flops
from fedsim.cost.memory import Polynomial
from fedsim.cost.parameters import trained_layouts
from fedsim.cost.products import Flops
from fedsim.cost.split import Remote, SplitCost
from fedsim.data.work import IntArray, Work
from fedsim.model.architecture import LocalShape
from fedsim.plan import PartName
from fedsim.wire import PLAIN, Codec

VersionArray = npt.NDArray[np.int32]

NEVER = -1
"""Version of a group that a client has not downloaded yet."""


@dataclass(frozen=True)
class Prices:
    """One entry a cohort member in every array. Bytes include those of `remote`, FLOPs and memory are the device's."""

    download_bytes: IntArray
    upload_bytes: IntArray
    flops_forward: IntArray
    flops_backward: IntArray
    memory_bytes: IntArray
    remote: Remote | None = None
    """What is done elsewhere while the device trains: of a split model."""

    @property
    def fetched_bytes(self) -> IntArray:
        """The download before the training."""
        return self.download_bytes - (0 if self.remote is None else self.remote.cut_download_bytes)

    @property
    def delivered_bytes(self) -> IntArray:
        """The upload after the training."""
        return self.upload_bytes - (0 if self.remote is None else self.remote.cut_upload_bytes)


def chosen(prices: Sequence[Prices], plan: IntArray) -> Prices:
    """Of several plans' prices for the same cohort, those of the plan that each member was given."""
    if len(prices) == 1:
        return prices[0]
    if any(one.remote for one in prices):
        raise ValueError("clients of a split model are all given the same plan")
    rows = np.arange(len(plan))

    def column(name: str) -> IntArray:
        picked: IntArray = np.stack([getattr(one, name) for one in prices])[plan, rows]
        return picked

    return Prices(
        download_bytes=column("download_bytes"),
        upload_bytes=column("upload_bytes"),
        flops_forward=column("flops_forward"),
        flops_backward=column("flops_backward"),
        memory_bytes=column("memory_bytes"),
    )


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
    split: SplitCost | None = None


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
    upload_bytes = np.full(len(work.batches), cost.upload_bytes, dtype=np.int64)
    remote = None
    if cost.split is not None:
        remote = cost.split.price(work)
        if cost.split.relayed_bytes is not None:
            download_bytes = np.full(len(work.batches), cost.split.relayed_bytes, dtype=np.int64)
        upload_bytes = upload_bytes + remote.cut_upload_bytes
        download_bytes = download_bytes + remote.cut_download_bytes
    return Prices(
        download_bytes=download_bytes,
        upload_bytes=upload_bytes,
        flops_forward=cost.flops.forward.total(work),
        flops_backward=cost.flops.backward.total(work),
        memory_bytes=cost.memory.at(work.largest_batch),
        remote=remote,
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
