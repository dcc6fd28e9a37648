"""Small cohorts with numbers of the test's choice."""

from collections.abc import Sequence

import numpy as np

from fedsim.cost.price import Prices
from fedsim.fleet.devices import Fleet


def fleet(
    flops_per_s: Sequence[float],
    downlink_bits_per_s: Sequence[float] | float = 8.0,
    uplink_bits_per_s: Sequence[float] | float = 8.0,
    latency_s: Sequence[float] | float = 0.0,
    memory_bytes: Sequence[int] | int = 100,
    compute_power_w: Sequence[float] | float = 1.0,
    radio_power_w: Sequence[float] | float = 1.0,
) -> Fleet:
    """Devices with these numbers; one number for all, or one a device. 8 bit/s is a byte a second."""
    clients = len(flops_per_s)

    def column(values: Sequence[float] | float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), (clients,)).copy()

    return Fleet(
        device=np.zeros(clients, dtype=np.int16),
        devices=("device",),
        network=np.zeros(clients, dtype=np.int16),
        networks=("network",),
        flops_per_s=column(flops_per_s),
        memory_bytes=column(memory_bytes).astype(np.int64),
        downlink_bits_per_s=column(downlink_bits_per_s),
        uplink_bits_per_s=column(uplink_bits_per_s),
        latency_s=column(latency_s),
        compute_power_w=column(compute_power_w),
        radio_power_w=column(radio_power_w),
    )


def prices(
    clients: int,
    download_bytes: Sequence[int] | int = 0,
    upload_bytes: Sequence[int] | int = 0,
    flops_forward: Sequence[int] | int = 0,
    flops_backward: Sequence[int] | int = 0,
    memory_bytes: Sequence[int] | int = 1,
) -> Prices:
    """Prices of this many trips; one number for all, or one a trip."""

    def column(values: Sequence[int] | int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.broadcast_to(np.asarray(values, dtype=np.int64), (clients,)).copy()

    return Prices(
        download_bytes=column(download_bytes),
        upload_bytes=column(upload_bytes),
        flops_forward=column(flops_forward),
        flops_backward=column(flops_backward),
        memory_bytes=column(memory_bytes),
    )
