"""A calibrated device as a table."""

from typing import Any

from fedsim.calibration import table
from fedsim.calibration.measurement import Measurement
from fedsim.fleet.catalog import DeviceClass
from fedsim.report.layout import Grid
from fedsim.report.units import metric

FEWEST = 20
"""Steps that tell whether a device becomes slower."""


def speeds(found: Measurement) -> Grid:
    """Speeds of both passes, and the memory behind them."""

    def memory(count: int | None) -> str:
        return "unknown" if count is None else metric(count, "B")

    later = len(found.forward_s) - len(found.forward_s) // 2
    rows = [
        ("forward", metric(found.flops_forward, "FLOP"), metric(found.forward_flops_per_s, "FLOP/s")),
        ("backward", metric(found.flops_backward, "FLOP"), metric(found.backward_flops_per_s, "FLOP/s")),
        ("step", metric(found.flops_forward + found.flops_backward, "FLOP"), metric(found.flops_per_s, "FLOP/s")),
    ]
    share = found.backward_flops_per_s / found.forward_flops_per_s
    notes = [
        f"{found.trained}; mean of the last {later} of {len(found.forward_s)} steps",
        f"backward runs at {share:.2f} of the speed of forward",
        f"memory: {memory(found.available_bytes)} were free, the process has held {memory(found.peak_bytes)} at most, "
        f"the training's price is {memory(found.priced_bytes)}: {memory(found.memory_bytes)} are left for training",
    ]
    if len(found.forward_s) >= FEWEST:
        notes.insert(1, f"the last quarter of the steps ran at {found.slowed_to:.2f} of the speed of the first")
    return Grid(("pass", "a step", "speed"), rows, found.where, notes)


def as_json(found: Measurement, one: DeviceClass | None) -> dict[str, Any]:
    """The same numbers, and the class that was written, if any."""
    return {
        "trained": found.trained,
        "machine": dict(found.machine),
        "flops_forward": found.flops_forward,
        "flops_backward": found.flops_backward,
        "steps": len(found.forward_s),
        "forward_flops_per_s": found.forward_flops_per_s,
        "backward_flops_per_s": found.backward_flops_per_s,
        "flops_per_s": found.flops_per_s,
        "slowed_to": found.slowed_to,
        "available_bytes": found.available_bytes,
        "peak_bytes": found.peak_bytes,
        "priced_bytes": found.priced_bytes,
        "memory_bytes": found.memory_bytes,
        "class": None if one is None else table.row(one),
    }
