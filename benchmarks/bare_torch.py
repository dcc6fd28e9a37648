"""W3 in plain torch without any framework: the speed that a simulator can hope for.

    python -m benchmarks.bare_torch --processes 2 --flat

One process works through the cohort; or several do a share each, with the global weights and their sums in shared
memory. `--flat` keeps parameters and gradients in one buffer each and writes SGD out, so that loading a model, a step
and summing up are one operation each. `--keep-memory` lets glibc reuse freed memory instead of giving it back to the
system after every batch.
"""

import argparse
import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from benchmarks import workload
from benchmarks.meter import Meter

Share = Callable[[Tensor, Sequence[int], Tensor], int]
"""(global weights, clients, sum to add weighted updates to) -> samples."""


def plain_share() -> Share:
    """Local work with `torch.optim.SGD`."""
    data, module = workload.Data(), workload.model()

    def work(weights: Tensor, clients: Sequence[int], total: Tensor) -> int:
        samples = 0
        for client in clients:
            with torch.no_grad():
                for parameter, value in zip(module.parameters(), workload.split(weights, module), strict=True):
                    parameter.copy_(value)
            count = workload.train(module, data.batches(client))
            with torch.no_grad():
                for parameter, place in zip(module.parameters(), workload.split(total, module), strict=True):
                    place.add_(parameter, alpha=count)
            samples += count
        return samples

    return work


def flat_share() -> Share:
    """Local work on flat buffers."""
    data, module = workload.Data(), workload.model()
    flat = workload.flat(module)
    grad = torch.zeros_like(flat)
    places = zip(module.parameters(), workload.split(flat, module), workload.split(grad, module), strict=True)
    for parameter, value, slope in places:
        parameter.data, parameter.grad = value, slope
    module.train()

    def work(weights: Tensor, clients: Sequence[int], total: Tensor) -> int:
        samples = 0
        for client in clients:
            flat.copy_(weights)
            count = 0
            for ids, targets in data.batches(client):
                grad.zero_()
                workload.loss(module, ids, targets).backward()  # type: ignore[no-untyped-call]
                flat.sub_(grad, alpha=workload.LEARNING_RATE)
                count += len(ids)
            total.add_(flat, alpha=float(count))
            samples += count
        return samples

    return work


def sequential(rounds: int, make: Callable[[], Share], mark: Callable[[], None]) -> Tensor:
    """All rounds in this process; returns the final global weights."""
    work = make()
    weights = workload.flat(workload.model())
    total = torch.zeros_like(weights)
    mark()
    for round_ in range(rounds):
        total.zero_()
        samples = work(weights, workload.cohort(round_), total)
        torch.div(total, samples, out=weights)
        mark()
    return weights


def parallel(rounds: int, processes: int, make: Callable[[], Share], keep: bool, mark: Callable[[], None]) -> Tensor:
    """All rounds, each cohort dealt out to the processes; returns the final global weights."""
    context = mp.get_context("spawn")
    weights = workload.flat(workload.model())
    totals = torch.zeros(processes, weights.numel())
    for shared in (weights, totals):
        shared.share_memory_()  # type: ignore[no-untyped-call]
    pipes, workers = [], []
    for number in range(processes):
        here, there = context.Pipe()
        arguments = (make, keep, weights, totals[number], there)
        worker = context.Process(target=_serve, args=arguments, daemon=True)
        worker.start()
        pipes.append(here)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    mark()
    for round_ in range(rounds):
        for number, pipe in enumerate(pipes):
            pipe.send(workload.cohort(round_)[number::processes])
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
    work = make()
    pipe.send("ready")
    while (clients := pipe.recv()) is not None:
        total.zero_()
        pipe.send(work(weights, clients, total))


def keep_memory() -> None:
    """Serve allocations below 1 GiB from the heap, and let the heap keep what is freed (mallopt(3))."""
    trim_threshold, mmap_threshold, most = -1, -3, 1 << 30
    library = ctypes.CDLL(None)
    for threshold in (trim_threshold, mmap_threshold):
        if not library.mallopt(threshold, most):
            raise OSError(f"mallopt refused {most}")


def main() -> None:
    """Run and write down the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--keep-memory", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    make, meter = (flat_share if options.flat else plain_share), Meter()
    if options.keep_memory:
        keep_memory()
    if options.processes == 1:
        weights = sequential(options.rounds, make, meter.mark)
    else:
        weights = parallel(options.rounds, options.processes, make, options.keep_memory, meter.mark)
    meter.finish(weights.numpy(), torch=torch.__version__)


if __name__ == "__main__":
    main()
