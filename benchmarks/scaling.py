"""How a run scales: time a round over the cohort's size, the driver's own work, the object store over many rounds.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --model tiny --cohorts 20 200 --rounds 4 --long 50

FedAvg on Ray, with as many clients a round as is asked for; hosts take some rounds to get up to speed, so that a small
cohort has more of them. The model `mlm` is that of the benchmark's work `mlm`;
`tiny` takes a millisecond a client, so that what a round itself costs is seen. Prints a table and writes
benchmarks/results/scaling.json. Times are real seconds between rounds, and processor seconds of driver and hosts, which
a busy machine changes less.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine

COHORTS = (20, 63, 200, 632, 2000)
WARM_ROUNDS, WARM_UPDATES = 40, 4000
"""Whichever is less, a run has at least so many rounds, or so many updates."""
RESULTS = Path(__file__).resolve().parent / "results" / "scaling.json"


@dataclass(frozen=True)
class Size:
    """A model of two layers, and what each client trains it on, in batches of four samples."""

    hidden: int
    feed_forward: int
    vocabulary: int
    samples: int
    tokens: int


SIZES = {"mlm": Size(128, 512, 8000, samples=8, tokens=64), "tiny": Size(32, 64, 200, samples=4, tokens=16)}


@dataclass(frozen=True)
class Scaled:
    """One run. The first round, in which hosts still come, is left out."""

    cohort: int
    rounds: int
    round_s: float
    """Median of real seconds from the end of a round to the end of the next."""
    update_ms: float
    """The same for each client."""
    host_cpu_s: float
    """Processor seconds of all hosts a round."""
    driver_cpu_s: float
    """Processor seconds of the driver a round."""
    driver_cores: float
    """Share of a core that the driver takes."""
    waiting_cores: float
    """The same of the time in which it does nothing but wait for a host."""
    busy: float
    """Share of the hosts' time that goes into training."""
    store_bytes: tuple[int, int]
    """Most that was used of the object store in the first and in the second half of the rounds."""


class Watch:
    """Notes the clock and processor times at the end of every round, and now and then the object store.

    To ask for the store takes some milliseconds, which count as the run's.
    """

    def __init__(self, hosts: list[int], rounds: int) -> None:
        self.hosts = [psutil.Process(number) for number in hosts]
        self.marks: list[tuple[float, float, float]] = []
        self.stored: list[int] = []
        self._rounds = rounds

    def mark(self) -> None:
        times = [process.cpu_times() for process in self.hosts]
        hosts_s = sum(one.user + one.system for one in times)
        self.marks.append((time.perf_counter(), hosts_s, time.process_time()))
        if len(self.marks) in (2, self._rounds) or len(self.marks) % 10 == 0:
            self.stored.append(_stored_bytes())


def _stored_bytes() -> int:
    """What objects take of the store on this node."""
    import ray
    from ray._private import internal_api

    state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)  # type: ignore[no-untyped-call]
    return int(internal_api.get_memory_info_reply(state).store_stats.object_store_bytes_used)  # type: ignore[no-untyped-call]


def scenario(folder: Path, size: Size, clients: int, cohort: int, rounds: int) -> Path:
    """Data of so many clients, and a scenario beside it."""
    import yaml

    draw = np.random.default_rng(1)
    ids = draw.integers(5, size.vocabulary, (clients * size.samples, size.tokens))
    targets = np.where(draw.random(ids.shape) < 0.15, ids, -100)
    targets[:, 0] = ids[:, 0]
    names = np.repeat([f"c{i:05d}" for i in range(clients)], size.samples)
    for name, rows in (("train", slice(None)), ("test", slice(1))):
        columns = {"client": names[rows], "input_ids": list(ids[rows]), "labels": list(targets[rows])}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    participation = {"clients_per_round": cohort}
    content: dict[str, Any] = {
        "name": f"scaling-{cohort}",
        "data": {
            "corpus": {"kind": "files", "train": ["train.parquet"], "test": ["test.parquet"], "tokenised": True},
            "partition": {"kind": "natural", "min_samples": size.samples},
            "max_tokens": size.tokens,
        },
        "model": {
            "vocabulary": size.vocabulary,
            "hidden": size.hidden,
            "layers": 2,
            "heads": 2,
            "feed_forward": size.feed_forward,
            "max_positions": size.tokens,
            "dropout": 0.0,
        },
        "fleet": {"clients": clients},
        "phases": {
            "further_pretrain": {
                "rounds": rounds,
                "participation": participation,
                "local": {"batch_samples": 4, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
            },
            "evaluate": None,
        },
        "methods": {"fedavg": {}},
        "outputs": {"checkpoint_every_rounds": rounds, "save_models": False},
    }
    file = folder / "scaling.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def measure(size: Size, clients: int, cohort: int, rounds: int, hosts: int) -> Scaled:
    """Train so many rounds on Ray hosts that are started for it."""
    from fedsim.engine.ray_pool import RayEngine
    from fedsim.observe.observer import RoundReport, Silent
    from fedsim.scenario.load import load
    from fedsim.simulation import Request, simulate

    with tempfile.TemporaryDirectory(prefix="fedsim-scaling-") as temporary:
        folder = Path(temporary)
        loaded = load(scenario(folder, size, clients, cohort, rounds))

        class Timed(RayEngine):
            """Notes how long the driver waits, and what it takes of a core then."""

            waited_s = waited_cpu_s = 0.0

            def _next(self, references: list[Any]) -> Any:
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                reference = super()._next(references)
                self.waited_s += time.perf_counter() - wall_s
                self.waited_cpu_s += time.process_time() - cpu_s
                return reference

        engine = Timed(hosts, dashboard=False)
        watch, busy = Watch(engine.processes(), rounds), list[float]()

        class Noted(Silent):
            def round(self, report: RoundReport) -> None:
                watch.mark()
                busy.append(report.busy_s)

        simulate(Request(loaded.scenario, loaded.base, folder / "run"), lambda: engine, Noted())
    first, last, spans = watch.marks[0], watch.marks[-1], len(watch.marks) - 1
    seconds = [after[0] - before[0] for before, after in zip(watch.marks, watch.marks[1:], strict=False)]
    span_s = last[0] - first[0]
    return Scaled(
        cohort=cohort,
        rounds=rounds,
        round_s=round(median(seconds), 4),
        update_ms=round(1000 * median(seconds) / cohort, 4),
        host_cpu_s=round((last[1] - first[1]) / spans, 4),
        driver_cpu_s=round((last[2] - first[2]) / spans, 4),
        driver_cores=round((last[2] - first[2]) / span_s, 4),
        waiting_cores=round(engine.waited_cpu_s / engine.waited_s, 4),
        busy=round(sum(busy[1:]) / (hosts * span_s), 4),
        store_bytes=(max(watch.stored[: len(watch.stored) // 2]), max(watch.stored[len(watch.stored) // 2 :])),
    )


def table(found: list[Scaled]) -> str:
    """For people."""
    head = "| clients a round | rounds | s a round | ms a client | hosts, CPU ms a client | driver, CPU ms a client "
    lines = [head + "| driver, cores | while it waits | hosts busy | object store, MB |", "|---" * 10 + "|"]
    for one in found:
        before, after = (f"{size / 1e6:.2f}" for size in one.store_bytes)
        per_client = 1000 / one.cohort
        lines.append(
            f"| {one.cohort:,} | {one.rounds} | {one.round_s:.3f} | {one.update_ms:.2f} "
            f"| {one.host_cpu_s * per_client:.2f} | {one.driver_cpu_s * per_client:.2f} | {one.driver_cores:.3f} "
            f"| {one.waiting_cores:.3f} | {100 * one.busy:.0f} % | {before} to {after} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mlm", help="which (default: mlm)")
    parser.add_argument("--cohorts", type=int, nargs="+", default=COHORTS, metavar="N", help="clients a round")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of the largest, at least 3 (default: 4)")
    parser.add_argument("--long", type=int, default=200, help="rounds with the smallest cohort once more; 0: none")
    parser.add_argument("--hosts", type=int, default=2, help="Ray hosts (default: 2)")
    parser.add_argument("--clients", type=int, default=2000, help="registered (default: 2,000)")
    parser.add_argument("--no-write", dest="keep", action="store_false", help="print the table and write no file")
    options = parser.parse_args()
    if options.rounds < 3 or max(options.cohorts) > options.clients:
        parser.error("--rounds must be at least 3, and no cohort larger than --clients")
    runs = [(cohort, max(options.rounds, min(WARM_ROUNDS, WARM_UPDATES // cohort))) for cohort in options.cohorts]
    runs += [(min(options.cohorts), options.long)] if options.long >= 3 else []
    found = []
    for cohort, rounds in runs:
        found.append(measure(SIZES[options.model], options.clients, cohort, rounds, options.hosts))
        print(f"{cohort:,} clients, {rounds} rounds: {found[-1].round_s:.3f} s a round", file=sys.stderr, flush=True)
    print(table(found))
    if options.keep:
        content = {
            "machine": machine.describe(),
            "model": options.model,
            "hosts": options.hosts,
            "runs": [asdict(one) for one in found],
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
