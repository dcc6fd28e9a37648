"""The shipped device and network classes: every number stands beside a text that says where it comes from."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType


@dataclass(frozen=True)
class DeviceClass:
    """A kind of device, in effective numbers: what a training job really gets, not the data sheet's peak."""

    name: str
    description: str
    flops_per_s: float
    """FP32 operations a second that training reaches."""
    memory_bytes: int
    """Memory that the training job may use."""
    compute_power_w: float
    """Power drawn while computing."""
    sources: Mapping[str, str]
    """The source of each number, by its field."""
    forward_flops_per_s: float | None = None
    """In forward passes alone; None: nobody has measured the two passes apart."""
    backward_flops_per_s: float | None = None
    """In backward passes alone, with the optimizer's step."""


@dataclass(frozen=True)
class NetworkClass:
    """A kind of network, as one device sees it."""

    name: str
    description: str
    downlink_bits_per_s: float
    uplink_bits_per_s: float
    latency_s: float
    """Time before the first byte of a transfer flows."""
    radio_power_w: float
    """Power drawn while bytes flow, in either direction."""
    sources: Mapping[str, str]
    """The source of each number, by its field."""


@lru_cache(maxsize=1)
def devices() -> Mapping[str, DeviceClass]:
    """The device classes by name, in the order of the table."""
    return MappingProxyType(
        {
            row["name"]: DeviceClass(
                name=row["name"],
                description=row["description"],
                flops_per_s=float(row["flops_per_s"]),
                memory_bytes=int(row["memory_bytes"]),
                compute_power_w=float(row["compute_power_w"]),
                sources=_sources(row),
            )
            for row in _rows("devices.csv")
        }
    )


@lru_cache(maxsize=1)
def networks() -> Mapping[str, NetworkClass]:
    """The network classes by name, in the order of the table."""
    return MappingProxyType(
        {
            row["name"]: NetworkClass(
                name=row["name"],
                description=row["description"],
                downlink_bits_per_s=float(row["downlink_bits_per_s"]),
                uplink_bits_per_s=float(row["uplink_bits_per_s"]),
                latency_s=float(row["latency_s"]),
                radio_power_w=float(row["radio_power_w"]),
                sources=_sources(row),
            )
            for row in _rows("networks.csv")
        }
    )


def _rows(table: str) -> list[dict[str, str]]:
    text = (files("fedsim.fleet") / "tables" / table).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text), strict=True))


def _sources(row: Mapping[str, str]) -> Mapping[str, str]:
    suffix = "_source"
    return MappingProxyType({key.removesuffix(suffix): text for key, text in row.items() if key.endswith(suffix)})
