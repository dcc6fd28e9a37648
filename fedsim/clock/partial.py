"""Partial work: how many of its batches a slow device can train on and still be back before the deadline.

FedProx (Li et al. 2020, section 3.2) takes in what such devices have done, where FedAvg drops them.
"""

import numpy as np

from fedsim.clock.trips import durations
from fedsim.cost.price import PlanCost, price
from fedsim.data.work import Work
from fedsim.fleet.devices import Fleet


def batches_in_time(
    prefixes: Work,
    cost: PlanCost,
    download_bytes: int,
    device: Fleet,
    deadline_s: float,
    latencies_s: tuple[float, float] | None = None,
) -> int:
    """How many batches leave time for the upload; 0 where not even one does.

    Args:
        prefixes: the work of the first batch, of the first two, and so on.
        cost: of the client's plan.
        download_bytes: what the client has to download first.
        device: the one device.
        deadline_s: longest time for download, training and upload.
        latencies_s: of download and upload, where they are not the device's own.
    """
    size = len(prefixes.batches)
    prices = price(cost, prefixes, np.full(size, download_bytes, np.int64))
    own = None if latencies_s is None else (np.full(size, latencies_s[0]), np.full(size, latencies_s[1]))
    # the same sum as the clock's, so that a trip cut to this length is in time to the last bit
    return int((durations(prices, device.take(np.zeros(size, np.int64)), own).total_s <= deadline_s).sum())
