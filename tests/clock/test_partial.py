"""How much of its work a slow device has time for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.clock.partial import batches_in_time
from fedsim.clock.trips import durations
from fedsim.cost.memory import Polynomial
from fedsim.cost.price import PlanCost, price
from fedsim.cost.products import Coefficients, Flops
from fedsim.data.batches import as_work, compose, measure, prefixes
from fedsim.data.work import Work
from fedsim.scenario.phases import Local
from tests.clock.cohorts import fleet

COST = PlanCost(Flops(Coefficients(token=1), Coefficients(token=2)), Polynomial(), 10, upload_parameters=5)
"""3 FLOPs a token, and 10 bytes up."""


def equal(batches: int, tokens: int) -> Work:
    """The first one, two ... of equal batches of so many tokens."""
    rows = np.ones((batches, 9), np.int64)
    rows[:, 2] = tokens
    rows[:, :6] = rows[:, :6].cumsum(0)
    return as_work(rows)


@pytest.mark.parametrize(
    ("deadline_s", "batches"),
    # 20 bytes down and 10 up at a byte a second, 12 FLOPs a batch at 6 a second: 30 s and 2 s a batch
    [(31.9, 0), (32.0, 1), (33.9, 1), (34.0, 2), (39.9, 4), (40.0, 5), (1000.0, 5)],
)
def test_by_hand(deadline_s: float, batches: int) -> None:
    assert batches_in_time(equal(5, 4), COST, 20, fleet([6.0]), deadline_s) == batches


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.integers(1, 7),
    st.integers(1, 2),
    st.floats(0.1, 1e4),
    st.floats(1.0, 1e4),
)
def test_one_batch_more_would_be_late(
    lengths: list[int], batch: int, epochs: int, speed: float, deadline_s: float
) -> None:
    tokens, local = np.array(lengths), Local(batch_samples=batch, epochs=epochs)
    batches = compose(tokens, local, 64, np.random.default_rng(0))
    parts, device = prefixes(tokens, None, batches, 64), fleet([speed])
    count = batches_in_time(as_work(parts), COST, 20, device, deadline_s)

    def seconds(row: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        return float(durations(price(COST, as_work(row[None]), np.array([20])), device).total_s[0])

    assert 0 <= count <= len(batches)
    if count:
        assert seconds(parts[count - 1]) <= deadline_s
    if count < len(batches):
        assert seconds(parts[count]) > deadline_s


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 7))
def test_prefixes_are_the_sums_of_their_batches_with_the_largest_of_all(lengths: list[int], batch: int) -> None:
    tokens = np.array(lengths)
    batches = compose(tokens, Local(batch_samples=batch), 64, np.random.default_rng(0))
    parts, whole = prefixes(tokens, tokens // 2, batches, 64), measure(tokens, tokens // 2, batches, 64)
    assert (parts[-1] == whole).all()
    for count, row in enumerate(parts, start=1):
        assert (row[:6] == measure(tokens, tokens // 2, batches[:count], 64)[:6]).all()
        assert (row[6:] == whole[6:]).all()
