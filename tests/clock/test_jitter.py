import numpy as np
import pytest

from fedsim.clock.jitter import latencies_s

MANY = np.arange(100_000)


def test_without_spread_latencies_are_the_devices_own() -> None:
    own = np.array([0.1, 0.5, 0.0])
    for found in latencies_s(own, 0.0, np.arange(3), 1, "finetune", 2):
        assert found.tolist() == own.tolist()


def test_latencies_are_log_normal_around_the_devices_own() -> None:
    down, up = latencies_s(np.full(len(MANY), 0.05), 0.4, MANY, 1, "finetune", 2)
    for found in (np.log(down / 0.05), np.log(up / 0.05)):
        assert np.median(found) == pytest.approx(0.0, abs=0.01)
        assert found.std() == pytest.approx(0.4, rel=0.02)
        assert np.mean(np.abs(found) < 0.4) == pytest.approx(0.6827, abs=0.01)
        assert np.mean(np.abs(found) < 0.8) == pytest.approx(0.9545, abs=0.005)
    assert abs(np.corrcoef(np.log(down), np.log(up))[0, 1]) < 0.01


def test_the_same_device_in_the_same_turn_has_the_same_latencies() -> None:
    all_down, all_up = latencies_s(np.ones(100), 0.4, np.arange(100), 1, "finetune", 2)
    some = np.array([70, 3])
    down, up = latencies_s(np.ones(2), 0.4, some, 1, "finetune", 2)
    assert np.array_equal(down, all_down[some])
    assert np.array_equal(up, all_up[some])
    for other in ((2, "finetune", 2), (1, "finetune", 3)):
        assert not np.isin(latencies_s(np.ones(2), 0.4, some, *other)[0], all_down).any()


@pytest.mark.parametrize("sigma", [-0.1, np.nan, np.inf])
def test_an_impossible_spread(sigma: float) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 on"):
        latencies_s(np.ones(1), sigma, np.arange(1), 1)
