"""How many client updates a second the products of matrices alone would allow.

    python -m benchmarks.ceiling
    python -m benchmarks.ceiling --works classify-wide --seconds 10

For every work: the products with trained matrices in the steps of an update, forward and backward, made by two
processes at the same time as fedsim makes them, one client's step after the other, and nothing else: no attention, no
activations, no sums, no optimizer, no round. Operands stay where they are, in the cache. No simulator that makes the
same products on this machine is faster.
"""

import argparse
import time
from statistics import median

import torch
import torch.multiprocessing as mp

from benchmarks.scenario import Positions
from benchmarks.workload import MASKED, WORKLOADS, Workload
from fedsim.model.linear import input_gradient, product, weight_gradient

PROCESSES = 2
Sizes = tuple[int, int, int]
"""Of a product with a matrix: rows, inputs, outputs."""


def sizes(work: Workload, positions: Positions) -> list[Sizes]:
    """Products of one step's forward pass; each has two more of as many multiplications on the way back."""
    hidden, tokens = work.hidden, work.batch_samples * work.tokens
    answers = work.batch_samples if work.task == "classify" else round(MASKED * tokens)
    behind = answers if positions == "needed" else tokens
    one_query = positions == "needed" and work.task == "classify"
    before = answers if one_query else tokens
    found = [size for _ in range(work.layers - 1) for size in _layer(work, tokens, tokens)]
    found += _layer(work, before, behind)
    if work.task == "classify":
        return [*found, (answers, hidden, hidden), (answers, hidden, work.classes)]
    return [*found, (behind, hidden, hidden), (behind, hidden, work.vocabulary)]


def _layer(work: Workload, before: int, behind: int) -> list[Sizes]:
    """Queries, keys and values; then the attention's output and the feed-forward matrices."""
    hidden, inner = work.hidden, work.feed_forward
    return [*[(before, hidden, hidden)] * 3, (behind, hidden, hidden), (behind, hidden, inner), (behind, inner, hidden)]


def updates_per_s(work: Workload, positions: Positions, seconds: float) -> float:
    """Of all processes together."""
    context = mp.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        asked = [(work, positions, seconds)] * PROCESSES
        return sum(pool.starmap(_repeat, asked, chunksize=1))


def _repeat(work: Workload, positions: Positions, seconds: float) -> float:
    """Updates per second of this process."""
    torch.set_num_threads(1)
    steps = work.samples // work.batch_samples
    operands = [
        (torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs), torch.randn(rows, outputs))
        for rows, inputs, outputs in sizes(work, positions)
    ]
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for x, weight, bias, grad in operands:
            product(x, weight, bias)
            input_gradient(grad, weight)
            weight_gradient(grad, x)
        times.append(time.perf_counter() - start)
    return 1 / (steps * median(times))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="which (default: all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each (default: 5)")
    options = parser.parse_args()
    print(f"{'work':16s} {'positions':>9s} {'GFLOP':>7s} {'GFLOP/s':>8s} {'updates/s':>10s}")
    for name in options.works:
        work = WORKLOADS[name]
        for positions in ("all", "needed"):
            steps = work.samples // work.batch_samples
            gflop = steps * sum(3 * 2 * rows * ins * outs for rows, ins, outs in sizes(work, positions)) / 1e9
            rate = updates_per_s(work, positions, options.seconds)
            print(f"{name:16s} {positions:>9s} {gflop:7.2f} {rate * gflop:8.0f} {rate:10.1f}", flush=True)


if __name__ == "__main__":
    main()
