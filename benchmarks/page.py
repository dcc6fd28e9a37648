"""Time the page that `fedsim watch` serves, on a run of a million trips and on one of a thousand small rounds.

    python -m benchmarks.page

Both are made in price mode. The second writes its trace after every round, as a run that trains does: the server has
thousands of files to read. Times of the server are wall times of its answers, those of the browser are Chromium's own
(Performance API): when it first paints, when text or pictures are there, when all charts are drawn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

SCENARIO = Path(__file__).parents[1] / "scenarios" / "million.yaml"
RUNS = {
    "a million trips": ["phases.further_pretrain.rounds=1000"],
    "a thousand rounds": [
        "fleet.clients=10000",
        "phases.further_pretrain.rounds=1000",
        "phases.further_pretrain.participation.clients_per_round=20",
    ],
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
TIMES = """() => Object.fromEntries([...performance.getEntriesByType("paint"),
    ...performance.getEntriesByName("fedsim-drawn")].map(entry => [entry.name, entry.startTime / 1000]))"""


def make(changes: list[str], folder: Path) -> None:
    """A run in price mode."""
    from fedsim.observe.observer import Silent
    from fedsim.scenario.load import load
    from fedsim.simulation import Request, simulate

    scenario = load(SCENARIO, changes).scenario
    simulate(Request(scenario, SCENARIO.parent, folder, ("fedbt",), price=True), None, Silent())


def _write_every_round() -> None:
    from fedsim.store.checkpoint import Spacing

    setattr(Spacing, "due", property(lambda spacing: True))  # noqa: B010


def measure(folder: Path) -> dict[str, float]:
    """Seconds until the server answers, of each answer, and until the browser has drawn."""
    from playwright.sync_api import sync_playwright

    found: dict[str, float] = {}
    start_s = time.perf_counter()
    command = [sys.executable, "-m", "fedsim", "watch", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = server.stderr.readline().rsplit(": ", 1)[1].split()[0]
            found["server: address told"] = time.perf_counter() - start_s
            for label in ("first", "again"):
                for what, path in (
                    ("page", ""),
                    ("all but trips", "data/run"),
                    ("a round", "data/round/fedbt/17"),
                    ("fleet", "data/fleet/fedbt"),
                ):
                    began_s = time.perf_counter()
                    with urlopen(address + path) as answer:
                        size = len(answer.read())
                    found[f"server: {what}, {label}"] = time.perf_counter() - began_s
                    found[f"MB: {what}"] = size / 1e6
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(address)
                page.wait_for_selector("body[data-drawn]", state="attached")
                found |= {f"browser: {name}": value for name, value in page.evaluate(TIMES).items()}
                browser.close()
            status = Path(f"/proc/{server.pid}/status").read_text()
            found["MB: memory of the server"] = int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
        finally:
            server.terminate()
    return found


def main() -> None:
    """Make the runs, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print numbers as JSON")
    arguments = parser.parse_args()
    columns: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, changes) in enumerate(RUNS.items()):
            if i:
                _write_every_round()
            make(changes, Path(folder) / str(i))
            columns[name] = measure(Path(folder) / str(i))
    if arguments.json:
        print(json.dumps(columns))
        return
    names = list(next(iter(columns.values())))
    print(f"{'':32}" + "".join(f"{name:>20}" for name in columns))
    for name in names:
        print(f"{name:32}" + "".join(f"{values[name]:>18.3f} {_unit(name)}" for values in columns.values()))


def _unit(name: str) -> str:
    return " " if name.startswith("MB") else "s"


if __name__ == "__main__":
    main()
