from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.errors import UserError
from fedsim.fleet import catalog
from fedsim.fleet.deal import largest_remainder
from fedsim.fleet.devices import Fleet, build, of_class
from fedsim.scenario.fleet import CatalogFleet
from fedsim.scenario.fleet import Fleet as FleetSpec

HERE = Path()
COLUMNS = (
    "device",
    "network",
    "flops_per_s",
    "memory_bytes",
    "downlink_bits_per_s",
    "uplink_bits_per_s",
    "latency_s",
    "compute_power_w",
    "radio_power_w",
)


def draw(clients: int, seed: int = 0, **source: object) -> Fleet:
    return build(FleetSpec(clients=clients, source=CatalogFleet.model_validate(source)), HERE, seed)


def same(one: Fleet, two: Fleet) -> bool:
    names = (one.devices, one.networks) == (two.devices, two.networks)
    return names and all(np.array_equal(getattr(one, c), getattr(two, c)) for c in COLUMNS)


def test_without_spread_every_device_has_the_numbers_of_its_classes() -> None:
    fleet = draw(50, speed_sigma=0.0, bandwidth_sigma=0.0)
    for client in range(50):
        device = catalog.devices()[fleet.devices[fleet.device[client]]]
        network = catalog.networks()[fleet.networks[fleet.network[client]]]
        assert fleet.flops_per_s[client] == device.flops_per_s
        assert fleet.memory_bytes[client] == device.memory_bytes
        assert fleet.compute_power_w[client] == device.compute_power_w
        assert fleet.downlink_bits_per_s[client] == network.downlink_bits_per_s
        assert fleet.uplink_bits_per_s[client] == network.uplink_bits_per_s
        assert fleet.latency_s[client] == network.latency_s
        assert fleet.radio_power_w[client] == network.radio_power_w


def test_column_types() -> None:
    fleet = draw(5)
    assert {fleet.device.dtype, fleet.network.dtype} == {np.dtype(np.int16)}
    assert fleet.memory_bytes.dtype == np.int64
    assert all(getattr(fleet, c).dtype == np.float64 for c in COLUMNS[2:] if c != "memory_bytes")
    assert all(getattr(fleet, c).shape == (5,) for c in COLUMNS)
    assert len(fleet) == 5


def test_shares_are_met_exactly() -> None:
    fleet = draw(10, devices={"phone_mid": 5, "phone_low": 3, "phone_high": 2}, networks={"wifi": 1.0})
    assert dict(zip(fleet.devices, np.bincount(fleet.device).tolist(), strict=True)) == {
        "phone_low": 3,
        "phone_mid": 5,
        "phone_high": 2,
    }
    assert fleet.networks == ("wifi",)
    assert not fleet.network.any()


def test_device_and_network_are_independent() -> None:
    fleet = draw(20_000, devices={"pi_4": 1, "pi_5": 1}, networks={"wifi": 1, "4g": 1})
    pairs = np.bincount(2 * fleet.device + fleet.network, minlength=4)
    assert np.abs(pairs - 5000).max() < 200


def test_spread_keeps_the_median_and_has_the_width_asked_for() -> None:
    fleet = draw(100_001, devices={"pi_4": 1.0}, networks={"4g": 1.0}, speed_sigma=0.5, bandwidth_sigma=0.3)
    speed = np.log(fleet.flops_per_s / catalog.devices()["pi_4"].flops_per_s)
    down = np.log(fleet.downlink_bits_per_s / catalog.networks()["4g"].downlink_bits_per_s)
    up = np.log(fleet.uplink_bits_per_s / catalog.networks()["4g"].uplink_bits_per_s)
    assert np.median(speed) == pytest.approx(0.0, abs=0.01)
    assert speed.std() == pytest.approx(0.5, rel=0.01)
    assert np.median(down) == pytest.approx(0.0, abs=0.01)
    assert down.std() == pytest.approx(0.3, rel=0.01)
    np.testing.assert_allclose(down, up, atol=1e-12)
    assert abs(np.corrcoef(speed, down)[0, 1]) < 0.02


def test_a_fleet_follows_from_seed_and_shares_alone() -> None:
    assert same(draw(100, seed=7), draw(100, seed=7))
    assert not same(draw(100, seed=7), draw(100, seed=8))
    one = draw(100, devices={"pi_4": 1, "pi_5": 2}, networks={"wifi": 3, "3g": 1})
    assert same(one, draw(100, devices={"pi_5": 2, "pi_4": 1}, networks={"3g": 1, "wifi": 3}))
    assert same(one, draw(100, devices={"pi_5": 1.0, "pi_4": 0.5}, networks={"3g": 0.25, "wifi": 0.75}))


def test_take_keeps_order_and_repeats() -> None:
    fleet = draw(20)
    clients = np.array([4, 0, 4, 19])
    cohort = fleet.take(clients)
    assert len(cohort) == 4
    assert (cohort.devices, cohort.networks) == (fleet.devices, fleet.networks)
    for column in COLUMNS:
        assert np.array_equal(getattr(cohort, column), getattr(fleet, column)[clients])


def test_one_client() -> None:
    fleet = draw(1)
    assert fleet.devices[fleet.device[0]] == "phone_mid"
    assert fleet.networks[fleet.network[0]] == "wifi"


def test_a_million_devices_are_columns() -> None:
    fleet = draw(1_000_000)
    assert sum(getattr(fleet, c).nbytes for c in COLUMNS) == 60_000_000
    assert np.bincount(fleet.device).tolist() == [200_000, 300_000, 500_000]


@pytest.mark.parametrize(
    ("kind", "name", "nearest"), [("devices", "phone_lo", "phone_low"), ("networks", "wi_fi", "wifi")]
)
def test_an_unknown_class_is_named_with_the_nearest(kind: str, name: str, nearest: str) -> None:
    source = CatalogFleet.model_validate({kind: {name: 1.0}})
    with pytest.raises(UserError) as caught:
        build(FleetSpec(clients=3, source=source), HERE, seed=0)
    assert caught.value.key == f"fleet.source.{kind}.{name}"
    assert f"did you mean '{nearest}'" in str(caught.value)
    assert "allowed: " in str(caught.value)


def test_one_machine_of_a_class() -> None:
    machine = of_class("server_gpu")
    assert (len(machine), machine.devices, machine.networks) == (1, ("server_gpu",), ("datacenter",))
    assert machine.flops_per_s[0] == catalog.devices()["server_gpu"].flops_per_s
    assert machine.uplink_bits_per_s[0] == catalog.networks()["datacenter"].uplink_bits_per_s
    assert of_class("pi_4", "wifi").networks == ("wifi",)


@pytest.mark.parametrize(("device", "network"), [("sever_gpu", "datacenter"), ("server_gpu", "data_center")])
def test_a_machine_of_an_unknown_class(device: str, network: str) -> None:
    with pytest.raises(UserError, match=r"did you mean '(server_gpu|datacenter)'") as caught:
        of_class(device, network, key="methods.central.device")
    assert caught.value.key == "methods.central.device"


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12), st.integers(0, 10_000))
def test_largest_remainder(shares: list[float], total: int) -> None:
    counts = largest_remainder(np.array(shares), total)
    assert counts.sum() == total
    assert np.abs(counts - np.array(shares) / sum(shares) * total).max() < 1 + 1e-6


def test_largest_remainder_gives_what_is_left_to_the_largest_rest_and_ties_to_the_first() -> None:
    assert largest_remainder(np.array([0.35, 0.25, 0.4]), 10).tolist() == [4, 2, 4]
    assert largest_remainder(np.array([1.0, 1.0, 1.0]), 4).tolist() == [2, 1, 1]
    assert largest_remainder(np.array([1e308, 1e308]), 3).tolist() == [2, 1]
