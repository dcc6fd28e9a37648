"""Works of the benchmark in small, and what plain training makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from benchmarks import bare_torch, local_work, workload
from benchmarks.workload import Floats, Workload

ROUNDS = 2
SMALL = {
    "mlm": replace(workload.MLM, clients=12, cohort_clients=5, vocabulary=300, hidden=32, feed_forward=64, tokens=16),
    "classify": replace(workload.CLASSIFY, clients=12, cohort_clients=5, vocabulary=200, hidden=32, feed_forward=64),
}


@contextmanager
def one_thread() -> Iterator[None]:
    """As the benchmark's processes have it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def first(work: Workload) -> Floats:
    """The weights to start from."""
    return np.asarray(workload.flat(work.model()))


def trained(work: Workload, make: bare_torch.Make = local_work.plain) -> Floats:
    """After some rounds of a loop in this process."""
    with one_thread():
        return np.asarray(bare_torch.sequential(work, ROUNDS, make, lambda: None))
