"""Fleets whose numbers were measured by others: the FCC's connections, FedScale's devices."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fedsim.errors import UserError
from fedsim.fleet import catalog
from fedsim.fleet.devices import Fleet, build
from fedsim.scenario.fleet import CatalogFleet, FedScaleFleet
from fedsim.scenario.fleet import Fleet as FleetSpec
from tests.fleet.readers.test_fcc import PING, SPEED, ping, speed

LINKS = {"download": "down.csv", "upload": "up.csv", "latency": "rtt.csv"}


def linked(folder: Path, clients: int, seed: int = 0) -> Fleet:
    """A fleet over three measured connections."""
    tables = {
        "down.csv": [SPEED, *(speed(unit, 1e6 * unit) for unit in (1, 2, 3))],
        "up.csv": [SPEED, *(speed(unit, 1e5 * unit) for unit in (1, 2, 3))],
        "rtt.csv": [PING, *(ping(unit, 1000 * unit) for unit in (1, 2, 3))],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines))
    source = CatalogFleet.model_validate({"networks": {"fixed": 1}, "links": LINKS})
    return build(FleetSpec(clients=clients, source=source), folder, seed)


def test_every_client_has_one_of_the_measured_connections(tmp_path: Path) -> None:
    fleet = linked(tmp_path, 300)
    unit = fleet.downlink_bits_per_s / 8e6
    assert np.bincount(unit.astype(int)).tolist() == [0, 100, 100, 100]
    assert np.array_equal(fleet.uplink_bits_per_s, unit * 8e5)
    assert np.allclose(fleet.latency_s, unit / 1000, rtol=1e-15)
    assert set(fleet.radio_power_w.tolist()) == {catalog.networks()["fixed"].radio_power_w}
    assert not np.array_equal(fleet.downlink_bits_per_s, linked(tmp_path, 300, seed=1).downlink_bits_per_s)
    assert np.array_equal(fleet.downlink_bits_per_s, linked(tmp_path, 300).downlink_bits_per_s)


def test_connections_do_not_change_the_devices(tmp_path: Path) -> None:
    plain = build(FleetSpec(clients=50, source=CatalogFleet(networks={"fixed": 1.0})), tmp_path, 0)
    fleet = linked(tmp_path, 50)
    for column in ("device", "flops_per_s", "memory_bytes", "compute_power_w", "network"):
        assert np.array_equal(getattr(fleet, column), getattr(plain, column))


def test_a_spread_has_no_use_beside_measured_connections() -> None:
    with pytest.raises(ValidationError, match="is not used where `links` give every client a measured connection"):
        CatalogFleet.model_validate({"links": LINKS, "bandwidth_sigma": 0.5})


def fedscale(folder: Path, clients: int, **changes: object) -> Fleet:
    rows = {i: {"computation": 100.0 * i, "communication": 5000.0 * i} for i in range(1, 4)}
    (folder / "capacity").write_bytes(pickle.dumps(rows, protocol=3))
    given = {"path": "capacity", "sample_flops": 6e8, "device": "phone_mid", "network": "4g", **changes}
    return build(FleetSpec(clients=clients, source=FedScaleFleet.model_validate(given)), folder, seed=0)


def test_devices_of_fedscale(tmp_path: Path) -> None:
    fleet = fedscale(tmp_path, 2, uplink_share=0.25)
    assert fleet.flops_per_s.tolist() == [6e9, 3e9]
    assert fleet.downlink_bits_per_s.tolist() == [5e6, 1e7]
    assert fleet.uplink_bits_per_s.tolist() == [1.25e6, 2.5e6]
    assert fleet.memory_bytes.tolist() == [catalog.devices()["phone_mid"].memory_bytes] * 2
    assert fleet.latency_s.tolist() == [catalog.networks()["4g"].latency_s] * 2
    assert (fleet.devices, fleet.networks) == (("phone_mid",), ("4g",))


def test_fedscale_has_one_bandwidth_for_both_directions_unless_told_otherwise(tmp_path: Path) -> None:
    fleet = fedscale(tmp_path, 3)
    assert np.array_equal(fleet.uplink_bits_per_s, fleet.downlink_bits_per_s)


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"device": "phone_mit"}, "fleet.source.device", "did you mean 'phone_mid'"),
        ({"network": "5k"}, "fleet.source.network", "no network class is called '5k'"),
        ({"path": "absent"}, "fleet.source.path", "No such file"),
    ],
)
def test_mistakes_are_told_with_their_key(changes: dict[str, object], key: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as caught:
        fedscale(tmp_path, 1, **changes)
    assert caught.value.key == key


@pytest.mark.parametrize("changes", [{"sample_flops": 0.0}, {"uplink_share": 0.0}, {"uplink_share": 1.5}])
def test_impossible_numbers(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        fedscale(tmp_path, 1, **changes)
