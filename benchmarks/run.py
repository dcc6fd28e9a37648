"""Time fedsim, bare torch and other simulators on the same work, in turns, on this machine.

    python -m benchmarks.run
    python -m benchmarks.run --runs 3 --only fedsim-ray-2 flower --flower /path/to/python

Writes the numbers to benchmarks/results/w3.json and a table to docs/benchmarks.md.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import machine, report, systems, workload

TOLERANCE = 1e-4
"""Weights are float32 and a round changes them by less than a hundredth: sums in another order are 1e-5 apart."""
MEMORY_TURN = -1
"""The turn in which memory is sampled, which costs time."""


@dataclass(frozen=True)
class Timing:
    """One run of one system."""

    system: str
    turn: int
    """Runs of the same turn were made one right after the other."""
    round_s: tuple[float, ...]
    """Wall time of every round after the first."""
    updates_per_s: float
    """Client updates per second in the median of those rounds."""
    first_round_done_s: float
    """From the start of the process to the end of the first round."""
    distance: float
    """Relative distance of the whole update to the reference's."""
    elsewhere_cores: float
    """Processors that others kept busy meanwhile."""
    peak_bytes: int
    versions: dict[str, str]


class Bench:
    """Runs systems one by one, each in a folder of its own, and checks where they arrive."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work, self.options = work, options
        self.timings: list[Timing] = []
        self.failures: dict[str, str] = {}
        """System -> what went wrong; it is not run again."""
        self._first = workload.flat(workload.model()).numpy()
        self._reference: workload.Floats | None = None

    def measure(self, chosen: list[systems.System]) -> None:
        """Every system once a turn, turn after turn, so that a change of the machine's mood meets all of them."""
        turns = [*range(self.options.runs), *([MEMORY_TURN] if self.options.memory else [])]
        for turn in turns:
            for system in chosen:
                if system.name not in self.failures:
                    try:
                        self._once(system, turn)
                    except RuntimeError as error:
                        self.failures[system.name] = str(error)
                        print(f"{system.label}: {error}", file=sys.stderr, flush=True)

    def prepare(self, file: Path) -> None:
        """Fill the cache of tokens, which all runs of a scenario share, and check that it can be priced."""
        folder = self.work / "prepare"
        folder.mkdir()
        command = (sys.executable, "-m", "fedsim", "scenario", str(file), "--price", "--out", str(folder / "run"))
        machine.run(command, folder, systems.environment(folder, self.work / "cache"), self.options.timeout, False)

    def _once(self, system: systems.System, turn: int) -> None:
        """One run; where others disturbed it, the quietest of some more."""
        tries = [self._try(system, turn)]
        while tries[-1].elsewhere_cores > report.DISTURBED and len(tries) <= self.options.retries:
            tries.append(self._try(system, turn))
        self.timings.append(min(tries, key=lambda timing: timing.elsewhere_cores))

    def _try(self, system: systems.System, turn: int) -> Timing:
        folder = Path(tempfile.mkdtemp(prefix=f"{system.name}-", dir=self.work))
        command = [word.replace("{folder}", str(folder)) for word in system.command]
        environment = systems.environment(folder, self.work / "cache")
        machine.wait_until_quiet(self.options.wait)
        started, used = machine.run(command, folder, environment, self.options.timeout, turn == MEMORY_TURN)
        outcome = systems.read(system, folder)
        if self._reference is None:
            if system.name != systems.REFERENCE:
                raise RuntimeError("there is no reference to compare it to")
            self._reference = outcome.weights
        seconds = tuple(round(after - before, 5) for before, after in pairwise(outcome.round_ends))
        timing = Timing(
            system=system.name,
            turn=turn,
            round_s=seconds,
            updates_per_s=round(workload.COHORT / median(seconds), 3),
            first_round_done_s=round(outcome.round_ends[0] - started, 3),
            distance=workload.distance(outcome.weights, self._reference, self._first),
            elsewhere_cores=round(used.elsewhere_cores, 3),
            peak_bytes=used.peak_bytes,
            versions=outcome.versions,
        )
        print(
            f"{system.label:50s} {timing.updates_per_s:6.2f} updates/s, first round after "
            f"{timing.first_round_done_s:5.1f} s, distance {timing.distance:.0e}; "
            f"others used {timing.elsewhere_cores:.2f} cores",
            flush=True,
        )
        if not timing.distance <= TOLERANCE:
            raise RuntimeError(f"the final weights are {timing.distance:.1e} off those of the reference")
        return timing


def main() -> None:
    """Time everything and write it down; exit code 1 where a system failed or reached other weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fedsim-bench-") as temporary:
        work = Path(temporary)
        others, missing = systems.peers(options.rounds, {"flower": options.flower, "pfl": options.pfl})
        for line in missing:
            print(f"not measured: {line}")
        files = systems.scenarios(work / "scenario", options.rounds)
        everything = [*systems.bare(options.rounds), *systems.simulator(files), *others]
        chosen = systems.choose(everything, options.only)
        bench = Bench(work, options)
        bench.prepare(files["all"])
        bench.measure(chosen)
    content = {
        "machine": machine.describe(),
        "rounds": options.rounds,
        "runs": options.runs,
        "baseline": systems.BASELINE,
        "labels": {system.name: system.label for system in chosen},
        "missing": [line.partition(":")[0] for line in missing],
        "failures": bench.failures,
        "timings": [asdict(timing) for timing in bench.timings],
    }
    page = report.markdown(content)
    print(page)
    if options.keep:
        results = systems.ROOT / "benchmarks" / "results" / "w3.json"
        results.parent.mkdir(exist_ok=True)
        results.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (systems.ROOT / "docs" / "benchmarks.md").write_text(page, encoding="utf-8")
    sys.exit(1 if bench.failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of every system (default: 5)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of every run, at least 2 (default: 8)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="systems whose names start like this")
    parser.add_argument("--flower", metavar="PYTHON", help="python of an environment with flwr[simulation]")
    parser.add_argument("--pfl", metavar="PYTHON", help="python of an environment with pfl[pytorch]")
    parser.add_argument(
        "--wait", type=float, default=20.0, metavar="S", help="most seconds to wait for a quiet machine"
    )
    parser.add_argument("--retries", type=int, default=2, help="more runs where others disturbed one (default: 2)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="S", help="most seconds that a run may take")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave out the runs that sample memory"
    )
    parser.add_argument("--no-write", dest="keep", action="store_false", help="print the table and write no file")
    options = parser.parse_args()
    if options.rounds < 2 or options.runs < 1:
        parser.error("--rounds must be at least 2 and --runs at least 1")
    return options


if __name__ == "__main__":
    main()
