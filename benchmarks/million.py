"""Time price mode on fleets from ten thousand to ten million devices, and say where a round's time goes.

    python -m benchmarks.million
    python -m benchmarks.million --clients 1000000 --rounds 10000 --method fedbt

Every fleet is run in a process of its own. Times of start-up, rounds and trips are processor time of the thread that
plays the rounds, which a busy machine changes less than wall time. A second thread writes the trace meanwhile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCENARIO = Path(__file__).parents[1] / "scenarios" / "million.yaml"
FLEETS = (10_000, 100_000, 1_000_000, 10_000_000)
PARTS = ("start", "cohort", "price", "clock", "rows of the trace", "hash", "checkpoint", "rest", "parts of the trace")


class Stopwatch:
    """Adds up the processor time of the calling thread in some methods."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = defaultdict(float)

    def time(self, owner: type, name: str, label: str) -> None:
        """From now on, count the time of this method."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            start_s = time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                self.spent_s[label] += time.thread_time() - start_s

        setattr(owner, name, timed)


def measure(clients: int, rounds: int, method: str, folder: Path) -> dict[str, float]:
    """Run the scenario in this process; milliseconds a round of every part, and what the whole took."""
    import pandas  # noqa: F401  (pyarrow imports it with the first array, which would count as a part of a round)

    from fedsim.account import Account
    from fedsim.cohorts import Cohorts
    from fedsim.method_run import MethodRun
    from fedsim.observe.observer import Silent
    from fedsim.policies.synchronous import Synchronous
    from fedsim.recruiting import Recruiter
    from fedsim.scenario.load import load
    from fedsim.simulation import Request, simulate
    from fedsim.trace.writer import TraceWriter

    watch = Stopwatch()
    for owner, name, label in (
        (MethodRun, "run", "all rounds"),
        (Recruiter, "ask", "cohort"),
        (Cohorts, "price", "price"),
        (Synchronous, "play", "play"),
        (Account, "trips", "rows of the trace"),
        (TraceWriter, "seal", "hash"),
        (Account, "checkpoint", "checkpoint"),
        (TraceWriter, "_write", "parts of the trace"),
    ):
        watch.time(owner, name, label)
    scenario = load(SCENARIO, [f"fleet.clients={clients}", f"phases.further_pretrain.rounds={rounds}"]).scenario
    start_s, began_s = time.perf_counter(), time.thread_time()
    simulate(Request(scenario, SCENARIO.parent, folder, (method,), price=True), None, Silent())
    wall_s, own_s, spent_s = time.perf_counter() - start_s, time.thread_time() - began_s, watch.spent_s
    part_s = {label: spent_s[label] for label in ("cohort", "price", "rows of the trace", "hash", "checkpoint")}
    part_s["clock"] = spent_s["play"] - spent_s["price"] - spent_s["cohort"]
    part_s["rest"] = spent_s["all rounds"] - sum(part_s.values())
    part_s["parts of the trace"] = spent_s["parts of the trace"]
    trips = rounds * scenario.phases.federated[0].config.participation.cohort_clients
    return {
        **{label: 1e3 * seconds / rounds for label, seconds in part_s.items()},
        "start": own_s - spent_s["all rounds"],
        "round_ms": 1e3 * spent_s["all rounds"] / rounds,
        "trip_us": 1e6 * spent_s["all rounds"] / trips,
        "process_s": time.process_time(),
        "wall_s": wall_s,
        "trips": float(trips),
        "peak_mb": _peak_mb(),
        "trace_mb": sum(file.stat().st_size for file in (folder / "trace").rglob("*.parquet")) / 1e6,
    }


def _peak_mb() -> float:
    """Most resident memory that this process has had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def table(found: dict[int, dict[str, float]]) -> str:
    """All fleets in Markdown."""
    columns = {
        "trips": ("trips", "{:,.0f}"),
        "start-up, s": ("start", "{:.1f}"),
        "a round, ms": ("round_ms", "{:.2f}"),
        "a trip, µs": ("trip_us", "{:.2f}"),
        "whole process, s": ("process_s", "{:.1f}"),
        "wall, s": ("wall_s", "{:.1f}"),
        "peak memory, MB": ("peak_mb", "{:,.0f}"),
        "trace, MB": ("trace_mb", "{:,.1f}"),
    }
    lines = ["| devices | " + " | ".join(columns) + " |", "|---:" * (len(columns) + 1) + "|"]
    for clients, numbers in found.items():
        cells = [form.format(numbers[key]) for key, form in columns.values()]
        lines.append(f"| {clients:,} | " + " | ".join(cells) + " |")
    parts = [name for name in PARTS if name != "start"]
    lines += ["", "| ms a round | " + " | ".join(parts) + " |", "|---:" * (len(parts) + 1) + "|"]
    for clients, numbers in found.items():
        lines.append(f"| {clients:,} | " + " | ".join(f"{numbers[part]:.2f}" for part in parts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every fleet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=list(FLEETS), help="fleets (default: 10^4 to 10^7)")
    parser.add_argument("--rounds", type=int, default=1000, help="rounds of every run (default: 1000)")
    parser.add_argument("--method", default="fedbt", help="which of the scenario's methods (default: fedbt)")
    parser.add_argument("--one", metavar="FOLDER", help="run one fleet in this process, and print its numbers as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.clients[0], options.rounds, options.method, Path(options.one))))
        return
    found: dict[int, dict[str, float]] = {}
    for clients in options.clients:
        with tempfile.TemporaryDirectory(prefix="fedsim-million-") as folder:
            command = [sys.executable, "-m", "benchmarks.million", "--clients", str(clients)]
            command += ["--rounds", str(options.rounds), "--method", options.method, "--one", f"{folder}/run"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[clients] = json.loads(done.stdout)
        print(f"{clients:,} devices: {found[clients]['round_ms']:.2f} ms a round", file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
