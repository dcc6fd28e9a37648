"""Whether FedBT is as much quicker than FedAvg as its price says.

    python -m benchmarks.priced_ratio
    python -m benchmarks.priced_ratio --hidden 128 --turns 5

Both train a BERT of 12 layers, 256 wide, on batches of 8 x 128 tokens, inline and with one thread. Every kind of update
of FedBT's five rounds, and FedAvg's, is made again and again in turns, all of it: loading, training, summing up.
Printed are processor seconds, their ratio to FedAvg's of the same turn, its median, and the ratio of the priced FLOPs.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.sized import Size, write
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import Result, Task, TrainBlock
from fedsim.observe.observer import Silent
from fedsim.scenario.load import load
from fedsim.simulation import Request, simulate

ROUNDS = 5
"""FedBT's schedule trains layer 0 in three of them, then layers 1 and 2."""


class Replay(InlineEngine):
    """Remembers every block of clients, and can time it once more."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[TrainBlock] = []

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """As ever."""
        self.blocks += [task for task in tasks if isinstance(task, TrainBlock)]
        yield from super().run(tasks, label)

    def cpu_s(self, block: TrainBlock) -> float:
        """Processor seconds of a block, whose clients find the groups as the last round has left them."""
        start = time.process_time()
        self._host.run(block)
        return time.process_time() - start


def measure(size: Size, turns: int, folder: Path) -> list[tuple[str, float, float, list[float]]]:
    """For each kind of update: what it is, its weight in its method's rounds, priced FLOPs, and seconds by turn."""
    loaded = load(write(folder, size, ROUNDS))
    engine = Replay()
    simulate(Request(loaded.scenario, loaded.base, folder / "run", (), price=False), lambda: engine, Silent())
    kinds: dict[tuple[str, int], list[TrainBlock]] = {}
    for block in engine.blocks:
        kinds.setdefault((block.method, block.stage), []).append(block)
    seconds: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind, blocks in kinds.items():
            seconds[kind].append(engine.cpu_s(blocks[-1]))
    return [
        (f"{method}, stage {stage}", len(blocks) / ROUNDS, blocks[-1].cost, seconds[method, stage])
        for (method, stage), blocks in kinds.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=256, help="width of the model (default: 256)")
    parser.add_argument("--turns", type=int, default=7, help="how often each kind of update is timed (default: 7)")
    options = parser.parse_args()
    size = Size(options.hidden, 12, 4, 8000, tokens=128, clients=1, batches=2, batch_samples=8)
    with TemporaryDirectory(prefix="fedsim-ratio-") as folder:
        found = measure(size, options.turns, Path(folder))
    whole = next(row for row in found if row[0].startswith("fedavg"))
    print(f"{'update':20s} {'GFLOP':>7s} {'s':>7s} {'priced':>8s} {'measured':>9s} {'off':>7s}")
    rows = [(label, flops, seconds) for label, _, flops, seconds in found]
    parts = [row for row in found if row[0].startswith("fedbt")]
    mixed = [sum(part[1] * part[3][turn] for part in parts) for turn in range(options.turns)]
    rows.append(("fedbt, all rounds", sum(part[1] * part[2] for part in parts), mixed))
    for label, flops, seconds in rows:
        priced = flops / whole[2]
        measured = median(one / other for one, other in zip(seconds, whole[3], strict=True))
        print(
            f"{label:20s} {flops / 1e9:7.1f} {median(seconds):7.3f} {priced:8.3f} {measured:9.3f} "
            f"{measured / priced - 1:+7.1%}"
        )


if __name__ == "__main__":
    main()
