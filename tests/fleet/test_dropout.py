import numpy as np
import pytest

from fedsim.errors import UserError
from fedsim.fleet.dropout import Dropout, hazards
from tests.clock.cohorts import fleet


def test_lifetimes_are_exponential_with_the_hazard_of_each_device() -> None:
    rates = np.repeat([0.01, 0.04], 50_000)
    lives = Dropout(rates, 3).lifetime_s(np.arange(100_000), "finetune", 5)
    for rate, own in ((0.01, lives[:50_000]), (0.04, lives[50_000:])):
        assert own.mean() == pytest.approx(1 / rate, rel=0.02)
        for length in (1.0, 30.0, 100.0):
            assert (own > length).mean() == pytest.approx(np.exp(-rate * length), abs=0.01)


def test_longer_trips_fail_more() -> None:
    lives = Dropout(np.full(10_000, 1e-3), 0).lifetime_s(np.arange(10_000), 1)
    survivors = [(lives > seconds).mean() for seconds in (10, 100, 1000, 10_000)]
    assert survivors == sorted(survivors, reverse=True)
    assert survivors[0] > 0.98
    assert survivors[-1] < 0.001


def test_without_a_hazard_nobody_vanishes() -> None:
    lives = Dropout(np.array([0.0, 1.0]), 0).lifetime_s(np.array([0, 1, 0]), 1)
    assert np.isinf(lives).tolist() == [True, False, True]


def test_a_devices_fate_in_a_turn_does_not_depend_on_the_others() -> None:
    dropout = Dropout(np.full(100, 0.1), 7)
    everybody = dropout.lifetime_s(np.arange(100), "finetune", 2)
    some = np.array([40, 3, 99])
    assert np.array_equal(dropout.lifetime_s(some, "finetune", 2), everybody[some])
    assert not np.isin(dropout.lifetime_s(some, "finetune", 3), everybody).any()
    assert not np.isin(Dropout(np.full(100, 0.1), 8).lifetime_s(some, "finetune", 2), everybody).any()


def test_hazards_of_all_of_the_device_and_of_the_network_add_up() -> None:
    devices = fleet([1.0] * 3)
    assert hazards(devices, 0.5, {}, {}).tolist() == [0.5] * 3
    assert hazards(devices, 0.5, {"device": 0.25}, {"network": 0.125}).tolist() == [0.875] * 3


def test_classes_have_hazards_of_their_own() -> None:
    from dataclasses import replace

    devices = replace(fleet([1.0] * 3), device=np.array([0, 1, 0], np.int16), devices=("phone", "pi"))
    assert hazards(devices, 0.0, {"pi": 0.25}, {}).tolist() == [0.0, 0.25, 0.0]


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        ((0.0, {"devce": 1.0}, {}), "fleet.dropout.devices.devce", "did you mean 'device'"),
        ((0.0, {}, {"wifi": 1.0}), "fleet.dropout.networks.wifi", "the fleet has no class 'wifi'; allowed: network"),
        ((-1.0, {}, {}), "fleet.dropout.per_s", "is -1, it must be a number from 0 on"),
        ((0.0, {"device": float("nan")}, {}), "fleet.dropout.devices.device", "is nan"),
        ((0.0, {}, {"network": float("inf")}), "fleet.dropout.networks.network", "is inf"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[float, dict[str, float], dict[str, float]], key: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        hazards(fleet([1.0]), *arguments)
    assert caught.value.key == key
