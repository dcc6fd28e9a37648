"""FedAvg and FedBT really train a BERT-base on this machine: is its memory what prices say, and its traffic?

    python -m benchmarks.bert_base
    python -m benchmarks.bert_base --methods fedbt --hosts 1

Two clients, each on a host of its own, train on two batches of 8 x 128 tokens with AdamW, for two rounds. Takes 10 GB
of memory and some minutes. Exit code 1 where something is not as it should be.

Memory of a host is what it has allocated itself (`RssAnon`), sampled every 10 ms: the peak of a round, less what it was
when the first round began, after a training of a tiny model. Beside it stands the peak that the price of the
trip says. Shared memory, where the published groups lie, belongs to no host. Memory of all is the proportional set size
of all processes of the run, Ray's own and the object store's pages included. What a client downloads in the second
round must be what the first one has changed.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.sized import Size, write

GB, MB = 1e9, 1e6
BERT_BASE = Size(768, 12, 12, 30522, tokens=128, clients=2, batches=2, batch_samples=8)
METHODS = {"fedbt", "fedavg"}
WARM_UP = Size(16, 12, 2, 60, tokens=8, clients=8, batches=1, batch_samples=2)
"""Everything is imported and has run once before anything is weighed."""
ROUNDS = 2
LIMITS = {"fedavg": 10.0 * GB}
"""Most memory of all processes together."""
TOLERANCE = 0.10
"""Of a host's peak against the predicted one."""


def anonymous_bytes(process: int) -> int:
    """What a process has allocated, shared memory and files left out."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process has allocated")


def whole_bytes() -> int:
    """Proportional set size of this process and all its descendants."""
    total = 0
    for process in (own := psutil.Process(), *own.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


class Peak:
    """The highest of a number that is asked for again and again."""

    def __init__(self, ask: Callable[[], int], every_s: float) -> None:
        self.bytes, self._ask, self._every_s, self._going = 0, ask, every_s, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._going:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                self.bytes = max(self.bytes, self._ask())
            time.sleep(self._every_s)

    def stop(self) -> int:
        """The highest number."""
        self._going = False
        self._thread.join()
        return self.bytes


def measure(method: str, hosts: int, size: Size, folder: Path) -> bool:
    """Train with one method, print what was measured, and say whether all of it is as it should be."""
    from fedsim import read_run
    from fedsim.engine.ray_pool import RayEngine
    from fedsim.observe.observer import RoundReport, RoundStart, Silent
    from fedsim.scenario.load import load
    from fedsim.simulation import Request, simulate

    class Kept(RayEngine):
        """Serves two runs, one after the other."""

        def close(self) -> None:
            pass

    engine = Kept(hosts)
    processes = engine.processes()
    tiny = load(write(folder / "tiny", WARM_UP, 1, hosts))
    # by the other method: groups that hosts hold are named after it
    (other,) = METHODS - {method}
    simulate(Request(tiny.scenario, tiny.base, folder / "warm-up", (other,)), lambda: engine, Silent())
    loaded = load(write(folder / "base", size, ROUNDS, hosts))
    idle: list[int] = []
    peaks: list[list[int]] = []
    open_: list[Peak] = []

    class Scale(Silent):
        def begin(self, start: RoundStart) -> None:
            if not idle:
                idle.extend(map(anonymous_bytes, processes))
            open_.extend(Peak(lambda process=process: anonymous_bytes(process), 0.01) for process in processes)  # type: ignore[misc]

        def round(self, report: RoundReport) -> None:
            peaks.append([peak.stop() for peak in open_])
            open_.clear()

    everything = Peak(whole_bytes, 0.5)
    request = Request(loaded.scenario, loaded.base, folder / "run", (method,), price=False)
    simulate(request, lambda: engine, Scale())
    whole = everything.stop()
    RayEngine.close(engine)
    table, good, changed = read_run(folder / "run").trips, True, None
    for round_ in range(ROUNDS):
        trips = table[table["round"] == round_]
        predicted = int(trips["memory_bytes"].max())
        measured = max(peak - before for peak, before in zip(peaks[round_], idle, strict=True))
        good &= abs(measured / predicted - 1) <= TOLERANCE
        down, up = (int(trips[f"{way}_bytes"].max()) for way in ("download", "upload"))
        good &= changed is None or down == changed
        changed = up
        print(
            f"{method}, round {round_ + 1}: a host took {measured / MB:,.0f} MB, predicted {predicted / MB:,.0f} MB "
            f"({measured / predicted - 1:+.1%}); a client downloads {down / MB:,.1f} MB and uploads {up / MB:,.1f} MB",
            flush=True,
        )
    limit = LIMITS.get(method, float("inf"))
    good &= whole <= limit
    print(f"{method}: all processes together took {whole / GB:.1f} GB at most", flush=True)
    return good


def main() -> None:
    """Measure one method after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["fedbt", "fedavg"], choices=sorted(METHODS))
    parser.add_argument("--hosts", type=int, default=2, help="hosts, one client at a time each (default: 2)")
    options = parser.parse_args()
    good = True
    for method in options.methods:
        own = ProcessPoolExecutor(1, get_context("spawn"))
        with TemporaryDirectory(prefix="fedsim-bert-") as folder, own as alone:
            good &= alone.submit(measure, method, options.hosts, BERT_BASE, Path(folder)).result()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
