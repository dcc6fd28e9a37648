"""A method's account: what it has spent so far, useful and wasted apart."""

from dataclasses import dataclass, fields, replace
from math import fsum
from typing import Any, Self

import numpy as np

from fedsim.clock.trips import Trips
from fedsim.data.work import Work

COUNTED = (
    "download_bytes",
    "upload_bytes",
    "flops_forward",
    "flops_backward",
    "cut_download_bytes",
    "cut_upload_bytes",
    "server_flops_forward",
    "server_flops_backward",
)
"""Whole numbers that every trip has."""


@dataclass(frozen=True)
class Totals:
    """Sums over trips; every `wasted_` number is part of the number of the same name.

    Those of a method are its rounds', and what its lessons take of the server.
    """

    tokens: int = 0
    """Of all plans, padding included."""
    real_tokens: int = 0
    download_bytes: int = 0
    upload_bytes: int = 0
    repeated_upload_bytes: int = 0
    """Delivered a second time, by trips that are useful: wasted, though they are not."""
    flops_forward: int = 0
    flops_backward: int = 0
    cut_download_bytes: int = 0
    cut_upload_bytes: int = 0
    server_flops_forward: int = 0
    server_flops_backward: int = 0
    device_seconds: float = 0.0
    energy_j: float = 0.0
    wasted_download_bytes: int = 0
    wasted_upload_bytes: int = 0
    wasted_flops_forward: int = 0
    wasted_flops_backward: int = 0
    wasted_cut_download_bytes: int = 0
    wasted_cut_upload_bytes: int = 0
    wasted_server_flops_forward: int = 0
    wasted_server_flops_backward: int = 0
    wasted_device_seconds: float = 0.0
    trips_completed: int = 0

    @classmethod
    def of(cls, trips: Trips, useful: np.typing.NDArray[np.bool_], work: Work) -> Self:
        """The sums of a round's trips."""
        training_s = trips.compute_s + (trips.exchange_s + trips.server_s + trips.wait_s)
        seconds = trips.download_s + training_s + trips.upload_s
        wasted = {f"wasted_{name}": int(getattr(trips, name)[~useful].sum()) for name in COUNTED}
        repeated = int(np.sum(trips.repeated_upload_bytes))
        wasted["wasted_upload_bytes"] += repeated
        return cls(
            repeated_upload_bytes=repeated,
            tokens=int(work.tokens.sum()),
            real_tokens=int(work.real_tokens.sum()),
            **{name: int(getattr(trips, name).sum()) for name in COUNTED},
            **wasted,
            device_seconds=fsum(seconds),
            wasted_device_seconds=fsum(seconds[~useful]),
            energy_j=fsum(trips.energy_j),
            trips_completed=int(useful.sum()),
        )

    def __add__(self, other: Self) -> Self:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return replace(self, **sums)

    def __sub__(self, other: Self) -> Self:
        differences = {f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)}
        return replace(self, **differences)

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
