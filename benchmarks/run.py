"""Time fedsim, bare torch and other simulators on the same works, in turns, on this machine.

    python -m benchmarks.run
    python -m benchmarks.run --works mlm --runs 3 --only torch-2 fedsim-ray-2 flower --flower /path/to/python
    python -m benchmarks.run --from-results

Writes the numbers to benchmarks/results/, tables to docs/benchmarks.md and a picture to docs/benchmarks.png.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, picture, report, scenario, systems
from benchmarks.bench import Bench, Settings
from benchmarks.workload import TUNED, WORKLOADS, Workload

RESULTS = systems.ROOT / "benchmarks" / "results"
PAGE = systems.ROOT / "docs" / "benchmarks.md"


def measure(work: Workload, options: argparse.Namespace, temporary: Path) -> dict[str, object]:
    """Run everything on one work; what results/NAME.json holds."""
    began_s = time.monotonic()
    rounds = options.rounds or work.rounds
    files = {way: scenario.write(work, temporary / "scenario", rounds, way) for way in systems.POSITIONS}
    everything, missing = systems.every(work, rounds, files, _pythons(options))
    chosen = systems.choose(work, everything, options.only)
    tuned = work.name in TUNED
    settings = Settings(
        turns=options.runs if tuned else min(options.runs, options.shape_runs),
        memory=options.memory and tuned,
        wait_s=options.wait,
        retries=options.retries,
        timeout_s=options.timeout,
    )
    bench = Bench(work, temporary, settings)
    bench.prepare(files["all"])
    bench.measure(chosen)
    return {
        "work": asdict(work),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - began_s),
        "machine": machine.describe(),
        "rounds": rounds,
        "runs": settings.turns,
        "systems": {
            system.name: {"label": system.label, "family": system.family, "less": system.less} for system in chosen
        },
        "missing": [line.partition(":")[0] for line in missing],
        "failures": bench.failures,
        "timings": [asdict(timing) for timing in bench.timings],
    }


def announce(options: argparse.Namespace) -> None:
    """Say which peers were not found.

    Raises:
        SystemExit: `--only` names a system that no work has here.
    """
    names: dict[str, None] = {}
    for work in map(WORKLOADS.__getitem__, options.works):
        found, missing = systems.every(work, 2, dict.fromkeys(systems.POSITIONS, Path()), _pythons(options))
        names |= {system.name: None for system in found}
    for line in missing:
        print(f"not measured: {line}", flush=True)
    for word in options.only:
        if not any(name.startswith(word) for name in names):
            sys.exit(f"--only {word}: no system here is called so; there are: {', '.join(names)}")


def _pythons(options: argparse.Namespace) -> dict[str, str | None]:
    return {name: getattr(options, name) for name in systems.PEERS}


def main() -> None:
    """Time everything and write it down; exit code 1 where a system failed or reached other weights."""
    options = _options()
    failed = False
    if not options.from_results:
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        announce(options)
        measured = {}
        for name in options.works:
            print(f"{name}:", flush=True)
            with tempfile.TemporaryDirectory(prefix="fedsim-bench-") as temporary:
                content = measured[name] = measure(WORKLOADS[name], options, Path(temporary))
            failed = failed or bool(content["failures"])
            if options.keep:
                RESULTS.mkdir(exist_ok=True)
                (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.keep:
        files = [RESULTS / f"{name}.json" for name in WORKLOADS]
        measured = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()}
        if not measured:
            sys.exit(f"nothing was measured yet: there is no result in {RESULTS}")
    page = report.markdown(list(measured.values()))
    print(page)
    if options.keep:
        PAGE.write_text(page, encoding="utf-8")
        picture.draw(list(measured.values()), PAGE.parent / report.PICTURE)
    sys.exit(1 if failed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="which (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="runs of every system (default: 5)")
    parser.add_argument(
        "--shape-runs", type=int, default=1, help="the same on shapes that nobody tuned for, at most (default: 1)"
    )
    parser.add_argument("--rounds", type=int, help="rounds of every run, at least 2 (default: what the work says)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="systems whose names start like this")
    for name, peer in systems.PEERS.items():
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"python of an environment with {peer.package}")
    parser.add_argument(
        "--wait", type=float, default=20.0, metavar="S", help="most seconds to wait for a quiet machine"
    )
    parser.add_argument("--retries", type=int, default=2, help="more runs where others disturbed one (default: 2)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="S", help="most seconds that a run may take")
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave out the runs that sample memory"
    )
    parser.add_argument("--no-write", dest="keep", action="store_false", help="print the tables and write no file")
    parser.add_argument(
        "--from-results", action="store_true", help="measure nothing: write the page anew from benchmarks/results"
    )
    options = parser.parse_args()
    if (options.rounds is not None and options.rounds < 2) or min(options.runs, options.shape_runs) < 1:
        parser.error("--rounds must be at least 2, --runs and --shape-runs at least 1")
    if options.from_results and not options.keep:
        parser.error("--from-results writes the page: leave out --no-write")
    return options


if __name__ == "__main__":
    main()
