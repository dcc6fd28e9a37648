import pytest

from fedsim.cost.carbon import carbon_g


def test_grams_of_a_kilowatt_hour() -> None:
    assert carbon_g(3.6e6, 400.0) == 400.0
    assert carbon_g(1.8e6, 400.0) == 200.0
    assert carbon_g(0.0, 400.0) == 0.0
    # a device of 5 W for an hour
    assert carbon_g(5 * 3600, 250.0) == pytest.approx(1.25)
