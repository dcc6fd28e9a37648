import importlib.resources

import pytest

from fedsim.fleet import catalog
from fedsim.fleet.catalog import DeviceClass, NetworkClass
from fedsim.scenario.fleet import CatalogFleet

GRADES = ("measured: ", "derived: ", "data sheet: ", "profile: ", "assumption: ")
DEVICE_NUMBERS = ("flops_per_s", "memory_bytes", "compute_power_w")
NETWORK_NUMBERS = ("downlink_bits_per_s", "uplink_bits_per_s", "latency_s", "radio_power_w")
EVERY_NUMBER = [
    *((item, number) for item in catalog.devices().values() for number in DEVICE_NUMBERS),
    *((item, number) for item in catalog.networks().values() for number in NETWORK_NUMBERS),
]


def test_as_many_classes_as_a_reader_can_overlook() -> None:
    assert 12 <= len(catalog.devices()) <= 20
    assert 8 <= len(catalog.networks()) <= 12


@pytest.mark.parametrize(("item", "number"), EVERY_NUMBER)
def test_every_number_is_positive_and_says_where_it_comes_from(item: DeviceClass | NetworkClass, number: str) -> None:
    assert getattr(item, number) > 0
    source = item.sources[number]
    assert source.startswith(GRADES), f"{item.name}.{number}: '{source}' does not begin with one of {GRADES}"
    assert len(source) > len("assumption: ") + 2


@pytest.mark.parametrize("table", ["devices.csv", "networks.csv"])
def test_names_are_unique_and_described(table: str) -> None:
    lines = (importlib.resources.files("fedsim.fleet") / "tables" / table).read_text("utf-8").splitlines()
    classes = catalog.devices() if table == "devices.csv" else catalog.networks()
    assert len(lines) == 1 + len(classes), "a name stands there twice, or a line is empty"
    for name, item in classes.items():
        assert item.name == name
        assert name == name.lower().strip()
        assert item.description


def test_nothing_but_numbers_has_a_source() -> None:
    assert all(tuple(item.sources) == DEVICE_NUMBERS for item in catalog.devices().values())
    assert all(tuple(item.sources) == NETWORK_NUMBERS for item in catalog.networks().values())


def test_the_defaults_of_a_scenario_exist() -> None:
    defaults = CatalogFleet()
    assert set(defaults.devices) <= set(catalog.devices())
    assert set(defaults.networks) <= set(catalog.networks())
    assert "server_gpu" in catalog.devices()


@pytest.mark.parametrize("name", ["gprs", "edge", "2g", "3g", "4g", "5g", "african_mobile", "dsl", "us_fixed_2017"])
def test_uploading_is_slower_than_downloading(name: str) -> None:
    network = catalog.networks()[name]
    assert network.uplink_bits_per_s < network.downlink_bits_per_s


@pytest.mark.parametrize(
    "slow_to_fast",
    [
        ("pi_zero_2w", "pi_4", "pi_5", "orange_pi_5", "jetson_nano", "jetson_orin_nano"),
        ("phone_low", "phone_mid", "tablet", "phone_high", "phone_flagship"),
        ("laptop_old", "mini_pc", "laptop", "desktop", "server_cpu", "workstation_gpu", "server_gpu"),
    ],
)
def test_devices_are_ordered_as_one_expects(slow_to_fast: tuple[str, ...]) -> None:
    speeds = [catalog.devices()[name].flops_per_s for name in slow_to_fast]
    assert speeds == sorted(speeds)


def test_networks_are_ordered_as_one_expects() -> None:
    speeds = [catalog.networks()[n].downlink_bits_per_s for n in ("gprs", "edge", "3g", "4g", "5g", "datacenter")]
    assert speeds == sorted(speeds)


def test_effective_speeds_are_below_what_the_hardware_can_do() -> None:
    hpl_fp32 = {"pi_4": 2 * 11.889e9, "pi_5": 2 * 30.249e9, "desktop": 2 * 229e9}
    peaks = hpl_fp32 | {"workstation_gpu": 12.74e12, "server_gpu": 15.7e12, "jetson_orin_nano": 2.09e12}
    assert all(catalog.devices()[name].flops_per_s < peak for name, peak in peaks.items())
