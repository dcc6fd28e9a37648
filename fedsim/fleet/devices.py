"""The fleet: one number a client in every column, never an object a device."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.errors import UserError, choose
from fedsim.fleet import catalog, files
from fedsim.fleet.catalog import DeviceClass
from fedsim.fleet.classes import read as read_classes
from fedsim.fleet.deal import deal, largest_remainder
from fedsim.fleet.readers import fcc, fedscale
from fedsim.scenario.fleet import CatalogFleet, FedScaleFleet, FileFleet, Links
from fedsim.scenario.fleet import Fleet as FleetSpec

Codes = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fleet:
    """All registered devices, or those of a cohort; every array has shape [clients]."""

    device: Codes
    """Device class of each client, an index into `devices`."""
    devices: tuple[str, ...]
    network: Codes
    """Network class of each client, an index into `networks`."""
    networks: tuple[str, ...]
    flops_per_s: FloatArray
    """Operations a second that training reaches."""
    memory_bytes: IntArray
    """Memory that training may use."""
    downlink_bits_per_s: FloatArray
    uplink_bits_per_s: FloatArray
    latency_s: FloatArray
    """Time before the first byte of a transfer flows."""
    compute_power_w: FloatArray
    radio_power_w: FloatArray
    backward_speed: FloatArray | float = 1.0
    """Speed of the backward pass, as a share of `flops_per_s`; one number stands for all devices, as below."""
    cool_s: FloatArray | float = np.inf
    """Seconds of computing after which a device is hot."""
    hot_speed: FloatArray | float = 1.0
    """Its speed then, as a share of `flops_per_s`."""

    def __len__(self) -> int:
        return len(self.device)

    def take(self, clients: IntArray) -> Self:
        """The devices of these clients, in this order."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {n: values[clients] for n, values in columns.items() if isinstance(values, np.ndarray)}
        return replace(self, **taken)


def build(spec: FleetSpec, base: Path, seed: int) -> Fleet:
    """The fleet that a scenario asks for.

    Args:
        spec: The `fleet` section.
        base: Folder of the scenario file; a fleet file's path is relative to it.
        seed: The scenario's seed. A catalogue fleet depends on it and on `spec` alone, not on the order of the shares.

    Raises:
        UserError: A class is not in the catalogue, or the file cannot be used.
    """
    pace: dict[str, Any] = spec.pace.columns()
    fleet = _build(spec, base, seed)
    if isinstance(measured := fleet.backward_speed, np.ndarray):
        pace["backward_speed"] = np.where(np.isnan(measured), pace["backward_speed"], measured)
    return replace(fleet, **pace)


def _build(spec: FleetSpec, base: Path, seed: int) -> Fleet:
    match spec.source:
        case CatalogFleet() as source:
            fleet = _draw(source, spec.clients, seed, classes(source, base))
            return fleet if source.links is None else _linked(fleet, source.links, base, seed)
        case FedScaleFleet() as source:
            return _fedscale(source, base, spec.clients)
        case FileFleet() as source:
            return _read(base / source.path, spec.clients)


def classes(source: CatalogFleet, base: Path) -> Mapping[str, DeviceClass]:
    """The device classes that a fleet may be drawn from, by name: the catalogue's, and those of its own file.

    Raises:
        UserError: The file cannot be used.
    """
    own = {} if source.classes is None else read_classes(base / source.classes, "fleet.source.classes")
    return {**catalog.devices(), **own}


def of_class(device: str, network: str = "datacenter", key: str | None = None) -> Fleet:
    """One machine of a class of the catalogue, without any spread.

    Raises:
        UserError: There is no such class; `key` is the scenario's key that names it.
    """
    if device not in catalog.devices():
        raise _unknown("device", device, catalog.devices(), key)
    if network not in catalog.networks():
        raise _unknown("network", network, catalog.networks(), key)
    return _alike(device, network, 1)


def _alike(device: str, network: str, clients: int) -> Fleet:
    source = CatalogFleet(devices={device: 1.0}, networks={network: 1.0}, speed_sigma=0.0, bandwidth_sigma=0.0)
    return _draw(source, clients, 0, catalog.devices())


def _draw(source: CatalogFleet, clients: int, seed: int, known: Mapping[str, DeviceClass]) -> Fleet:
    device, devices = _assign(source.devices, "device", known, clients, seed)
    network, networks = _assign(source.networks, "network", catalog.networks(), clients, seed)
    of_device = [known[name] for name in devices]
    of_network = [catalog.networks()[name] for name in networks]
    speed = _spread(source.speed_sigma, "speed", clients, seed)
    # One factor for both directions: a device far from the mast is slow both ways.
    bandwidth = _spread(source.bandwidth_sigma, "bandwidth", clients, seed)
    return Fleet(
        device=device,
        devices=devices,
        network=network,
        networks=networks,
        flops_per_s=_floats([c.forward_flops_per_s or c.flops_per_s for c in of_device])[device] * speed,
        memory_bytes=np.array([c.memory_bytes for c in of_device], dtype=np.int64)[device],
        downlink_bits_per_s=_floats([c.downlink_bits_per_s for c in of_network])[network] * bandwidth,
        uplink_bits_per_s=_floats([c.uplink_bits_per_s for c in of_network])[network] * bandwidth,
        latency_s=_floats([c.latency_s for c in of_network])[network],
        compute_power_w=_floats([c.compute_power_w for c in of_device])[device],
        radio_power_w=_floats([c.radio_power_w for c in of_network])[network],
        backward_speed=_backward(of_device, device),
    )


def _backward(of_device: Sequence[DeviceClass], device: Codes) -> FloatArray | float:
    """Speed of backward passes as a share of that of forward ones, NaN where nobody has measured it; 1: nowhere."""
    shares = [c.backward_flops_per_s and c.backward_flops_per_s / (c.forward_flops_per_s or 1.0) for c in of_device]
    return _floats([share or np.nan for share in shares])[device] if any(shares) else 1.0


def _floats(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _assign(
    shares: Mapping[str, float], kind: str, known: Collection[str], clients: int, seed: int
) -> tuple[Codes, tuple[str, ...]]:
    for name in shares:
        if name not in known:
            raise _unknown(kind, name, known, f"fleet.source.{kind}s.{name}")
    # Sorted, because the same shares written in another order are the same fleet.
    names = tuple(sorted(shares))
    counts = largest_remainder(_floats([shares[name] for name in names]), clients)
    codes = np.repeat(np.arange(len(names), dtype=np.int16), counts)
    rng.stream(seed, "fleet", kind).shuffle(codes)
    return codes, names


def _unknown(kind: str, name: str, known: Collection[str], key: str | None) -> UserError:
    return UserError(f"no {kind} class is called '{name}'; {choose(name, known)}", key=key)


def _spread(sigma: float, what: str, clients: int, seed: int) -> FloatArray:
    """Log-normal factors with median 1."""
    factors: FloatArray = np.exp(sigma * rng.stream(seed, "fleet", what).standard_normal(clients))
    return factors


def _linked(fleet: Fleet, links: Links, base: Path, seed: int) -> Fleet:
    """The fleet with measured connections, dealt at random."""
    measured = fcc.read(base / links.download, base / links.upload, base / links.latency, "fleet.source.links")
    own = deal("links", "random", len(measured), len(fleet), seed)
    return replace(
        fleet,
        downlink_bits_per_s=measured.downlink_bits_per_s[own],
        uplink_bits_per_s=measured.uplink_bits_per_s[own],
        latency_s=measured.latency_s[own],
    )


def _fedscale(source: FedScaleFleet, base: Path, clients: int) -> Fleet:
    for kind, name, known in (
        ("device", source.device, catalog.devices().keys()),
        ("network", source.network, catalog.networks().keys()),
    ):
        if name not in known:
            raise _unknown(kind, name, known, f"fleet.source.{kind}")
    measured = fedscale.capacity(base / source.path, clients, "fleet.source.path")
    return replace(
        _alike(source.device, source.network, clients),
        flops_per_s=source.sample_flops / measured.sample_s,
        downlink_bits_per_s=measured.bits_per_s,
        uplink_bits_per_s=measured.bits_per_s * source.uplink_share,
    )


def _read(path: Path, clients: int) -> Fleet:
    columns = files.read(path, clients)
    return Fleet(
        device=columns.codes["device"],
        devices=columns.names["device"],
        network=columns.codes["network"],
        networks=columns.names["network"],
        flops_per_s=columns.numbers["flops_per_s"],
        memory_bytes=columns.numbers["memory_bytes"].astype(np.int64),
        downlink_bits_per_s=columns.numbers["downlink_bits_per_s"],
        uplink_bits_per_s=columns.numbers["uplink_bits_per_s"],
        latency_s=columns.numbers["latency_s"],
        compute_power_w=columns.numbers["compute_power_w"],
        radio_power_w=columns.numbers["radio_power_w"],
    )
