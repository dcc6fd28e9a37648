"""A work in plain torch without any framework: the speed that a simulator can hope for.

    python -m benchmarks.bare_torch --work mlm --rounds 8 --processes 2 --way flat

One process works through the cohort; or several do a share each, with the global weights and their sums in shared
memory. `--keep-memory` lets glibc reuse freed memory instead of giving it back to the system after every batch.
"""

import argparse
import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from benchmarks import local_work, workload
from benchmarks.local_work import Share
from benchmarks.meter import Meter
from benchmarks.workload import Workload

Make = Callable[[Workload], Share]


def sequential(work: Workload, rounds: int, make: Make, mark: Callable[[], None]) -> Tensor:
    """All rounds in this process; returns the final global weights.

    Sums are float64, so that what comes out can be the reference for other orders of summing up.
    """
    share = make(work)
    weights = workload.flat(work.model())
    total = torch.zeros_like(weights, dtype=torch.float64)
    mark()
    for round_ in range(rounds):
        total.zero_()
        samples = share(weights, work.cohort(round_), total)
        weights.copy_(total.div_(samples))
        mark()
    return weights


def parallel(work: Workload, rounds: int, processes: int, make: Make, keep: bool, mark: Callable[[], None]) -> Tensor:
    """All rounds, each cohort dealt out to the processes; returns the final global weights."""
    context = mp.get_context("spawn")
    weights = workload.flat(work.model())
    totals = torch.zeros(processes, weights.numel())
    for shared in (weights, totals):
        shared.share_memory_()  # type: ignore[no-untyped-call]
    pipes, workers = [], []
    for number in range(processes):
        here, there = context.Pipe()
        arguments = (partial(make, work), keep, weights, totals[number], there)
        worker = context.Process(target=_serve, args=arguments, daemon=True)
        worker.start()
        pipes.append(here)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    mark()
    for round_ in range(rounds):
        for number, pipe in enumerate(pipes):
            pipe.send(work.cohort(round_)[number::processes])
        samples = sum(pipe.recv() for pipe in pipes)
        torch.sum(totals, 0, out=weights)
        weights.div_(samples)
        mark()
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    return weights


def _serve(make: Callable[[], Share], keep: bool, weights: Tensor, total: Tensor, pipe: Any) -> None:
    torch.set_num_threads(1)
    if keep:
        keep_memory()
    share = make()
    pipe.send("ready")
    while (clients := pipe.recv()) is not None:
        total.zero_()
        pipe.send(share(weights, clients, total))


def keep_memory() -> None:
    """Serve allocations below 1 GiB from the heap, and let the heap keep what is freed (mallopt(3))."""
    trim_threshold, mmap_threshold, most = -1, -3, 1 << 30
    library = ctypes.CDLL(None)
    for threshold in (trim_threshold, mmap_threshold):
        if not library.mallopt(threshold, most):
            raise OSError(f"mallopt refused {most}")


def main() -> None:
    """Run and write down the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=workload.WORKLOADS, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--way", choices=["plain", "flat", "masked", "vectorised"], default="plain")
    parser.add_argument("--together", type=int, default=50, help="clients at a time of `vectorised` (default: 50)")
    parser.add_argument("--keep-memory", action="store_true")
    options = parser.parse_args()
    ways: dict[str, Make] = {
        "plain": local_work.plain,
        "flat": local_work.flat_buffers,
        "masked": local_work.masked_head,
        "vectorised": partial(local_work.vectorised, together=options.together),
    }
    torch.set_num_threads(1)
    work, make, meter = workload.WORKLOADS[options.work], ways[options.way], Meter()
    if options.keep_memory:
        keep_memory()
    if options.processes == 1:
        weights = sequential(work, options.rounds, make, meter.mark)
    else:
        weights = parallel(work, options.rounds, options.processes, make, options.keep_memory, meter.mark)
    meter.finish(weights.numpy(), torch=torch.__version__)


if __name__ == "__main__":
    main()
