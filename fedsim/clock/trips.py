"""One client's participation in a round, in closed forms: download, training, upload, one after the other.

Training is computing; with a split model it is also messages across the cut, the server's computing, and waiting.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fedsim.clock.pace import Pace
from fedsim.cost.price import Prices
from fedsim.data.work import IntArray
from fedsim.fleet.devices import Fleet, FloatArray

BoolArray = npt.NDArray[np.bool_]
OutcomeCodes = npt.NDArray[np.int8]


class Outcome(StrEnum):
    """How a trip ended."""

    completed = "completed"
    """Back in time: its update counts."""
    late = "late"
    """Still away, or one too many, when the round closed: what it spent is wasted."""
    dropped = "dropped"
    """The device went away."""
    out_of_memory = "out_of_memory"
    """The device has less memory than training needs: nothing was sent or computed."""
    unused = "unused"
    """Back, but not counted: too few came back with it, or too much has happened since it started."""
    failed = "failed"
    """Local training raised an error."""
    rejected = "rejected"
    """The update was refused (not finite, wrong shape)."""

    @property
    def code(self) -> int:
        """The number that stands for it in a column: its place in `OUTCOMES`."""
        return OUTCOMES.index(self)


OUTCOMES = tuple(Outcome)
"""The outcome of each code."""


@dataclass(frozen=True, eq=False)
class Durations:
    """How long each leg of a trip takes; every array has shape [cohort]."""

    download_s: FloatArray
    compute_s: FloatArray
    upload_s: FloatArray
    exchange_s: FloatArray
    """Messages across the cut of a split model."""
    server_s: FloatArray
    """The server's part of a split model."""
    wait_s: FloatArray
    """For other clients, between steps."""
    download_latency_s: FloatArray
    """Part of `download_s` before the first byte."""
    upload_latency_s: FloatArray
    """Part of `upload_s` before the first byte."""

    @property
    def training_s(self) -> FloatArray:
        """From the end of the download to the start of the upload."""
        return self.compute_s + (self.exchange_s + self.server_s + self.wait_s)

    @property
    def total_s(self) -> FloatArray:
        """From start to the update's arrival."""
        return self.download_s + self.training_s + self.upload_s


@dataclass(frozen=True, eq=False)
class Trips:
    """The trips of a round and what each has really spent; every array has shape [cohort].

    Bytes include those across the cut of a split model, which are also given apart.
    """

    outcome: OutcomeCodes
    """Index into `OUTCOMES`."""
    start_s: FloatArray
    end_s: FloatArray
    """When the trip was back, or was given up."""
    download_s: FloatArray
    compute_s: FloatArray
    upload_s: FloatArray
    exchange_s: FloatArray
    server_s: FloatArray
    wait_s: FloatArray
    download_bytes: IntArray
    upload_bytes: IntArray
    flops_forward: IntArray
    flops_backward: IntArray
    cut_download_bytes: IntArray
    cut_upload_bytes: IntArray
    server_flops_forward: IntArray
    server_flops_backward: IntArray
    energy_j: FloatArray
    downloaded: BoolArray
    """The whole download had arrived when the round closed."""
    opened_s: float
    """When the round opened."""
    closed_s: float
    """When the round closed."""
    repeated_upload_bytes: IntArray | int = 0
    """Part of the upload: what was delivered a second time; one number stands for all trips, as below."""
    cause: npt.NDArray[np.object_] | None = None
    """The fault that a trip met, or why its update was refused, in words; None: neither."""

    def __len__(self) -> int:
        return len(self.outcome)

    def having(self, outcome: Outcome) -> BoolArray:
        """Which trips ended so."""
        mask: BoolArray = self.outcome == outcome.code
        return mask


def durations(prices: Prices, fleet: Fleet, latencies_s: tuple[FloatArray, FloatArray] | None = None) -> Durations:
    """How long each leg takes: ``latency + 8 * bytes / bandwidth``, and ``FLOPs / speed``.

    Args:
        prices: Costs of the trips, shape [cohort].
        fleet: The cohort's devices, in the same order.
        latencies_s: Of the download and of the upload, where they differ from the devices' own; [cohort] each.

    A leg with no bytes takes no time: nobody connects for it. Every message across a cut has a latency of its own.
    """
    nothing = np.zeros(len(fleet))
    down_s, up_s = latencies_s or (fleet.latency_s, fleet.latency_s)
    exchange_s, server_s, remote = nothing, nothing, prices.remote
    if remote is not None:
        exchange_s = (
            remote.messages * fleet.latency_s
            + 8 * remote.cut_download_bytes / fleet.downlink_bits_per_s
            + 8 * remote.cut_upload_bytes / fleet.uplink_bits_per_s
        )
        server_s = remote.server_s
    return Durations(
        download_s=_transfer(prices.fetched_bytes, fleet.downlink_bits_per_s, down_s),
        compute_s=Pace.of(fleet).seconds(prices.flops_forward, prices.flops_backward),
        upload_s=_transfer(prices.delivered_bytes, fleet.uplink_bits_per_s, up_s),
        exchange_s=exchange_s,
        server_s=server_s,
        wait_s=nothing,
        download_latency_s=np.where(prices.fetched_bytes > 0, down_s, 0.0),
        upload_latency_s=np.where(prices.delivered_bytes > 0, up_s, 0.0),
    )


def _transfer(size_bytes: IntArray, bits_per_s: FloatArray, latency_s: FloatArray) -> FloatArray:
    return np.where(size_bytes > 0, latency_s + 8 * size_bytes / bits_per_s, 0.0)


def energy(download_bytes: IntArray, upload_bytes: IntArray, compute_s: FloatArray, fleet: Fleet) -> FloatArray:
    """Joules of computing, and of the radio while bytes flow; waiting and latency are free.

    All arrays have shape [cohort]. The arguments are columns of a trace, so that anyone can check its energy.
    """
    flow_s = 8 * download_bytes / fleet.downlink_bits_per_s + 8 * upload_bytes / fleet.uplink_bits_per_s
    return compute_s * fleet.compute_power_w + flow_s * fleet.radio_power_w
