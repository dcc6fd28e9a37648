from functools import partial

import numpy as np
import pytest

from benchmarks import bare_torch, local_work, workload
from benchmarks.bare_torch import Make
from benchmarks.workload import Workload

from .works import ROUNDS, SMALL, first, trained

EACH = pytest.mark.parametrize("work", SMALL.values(), ids=SMALL)
WAYS: dict[str, Make] = {
    "flat": local_work.flat_buffers,
    "all at once": partial(local_work.vectorised, together=50),
    "a few at a time": partial(local_work.vectorised, together=2),
}


@EACH
def test_flat_buffers_change_nothing(work: Workload) -> None:
    assert np.array_equal(trained(work, local_work.flat_buffers), trained(work))


@EACH
@pytest.mark.parametrize("way", WAYS)
def test_every_way_reaches_the_reference(work: Workload, way: str) -> None:
    reference, start = trained(work), first(work)
    weights = trained(work, WAYS[way])
    assert workload.distance(weights, reference, start) <= workload.tolerance(work, reference, start)


def test_masked_positions_reach_the_reference() -> None:
    work = SMALL["mlm"]
    reference, start = trained(work), first(work)
    weights = trained(work, local_work.masked_head)
    assert workload.distance(weights, reference, start) <= workload.tolerance(work, reference, start)


@pytest.mark.slow
def test_two_processes_reach_the_reference() -> None:
    work = SMALL["classify"]
    marks: list[int] = []
    make = partial(local_work.vectorised, together=2)
    weights = bare_torch.parallel(work, ROUNDS, 2, make, True, lambda: marks.append(1)).numpy()
    reference, start = trained(work), first(work)
    assert workload.distance(weights, reference, start) <= workload.tolerance(work, reference, start)
    assert len(marks) == ROUNDS + 1
