"""Time runs on Ray that are watched against runs that are not: the live view and the metrics, against neither.

    python -m benchmarks.watching
    python -m benchmarks.watching quickstart --pairs 3

Runs come in pairs, each in a process of its own with a terminal to draw on, and take turns in being first. Time is from
the end of the first round to the end of the last one, without starts; processor time is the driver's, where watching
happens.
"""

import argparse
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import fedsim

ROUNDS = ("phases.further_pretrain.rounds=60", "phases.finetune.rounds=60")
"""Of the default scenario: rounds of a tenth of a second are where watching costs most."""


@dataclass(frozen=True)
class Timed:
    """What a run took."""

    rounds: int
    rounds_s: float
    """From the end of the first round to the end of the last one."""
    driver_s: float
    """Processor time of the driver, its start included."""


def run(scenario: str, settings: Sequence[str], hosts: int, folder: Path, watched: bool) -> Timed:
    """Run a scenario with a terminal of 120 x 40."""
    options = [f"engine.metrics={'true' if watched else 'false'}", *settings]
    command = [sys.executable, "-m", "fedsim", "scenario", scenario, "--hosts", str(hosts), "--out", str(folder)]
    command += [word for option in options for word in ("--set", option)] + ([] if watched else ["--quiet"])
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours,))
    reader.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    events = fedsim.read_run(folder).events
    ends = events.loc[events["kind"] == "round", "wall_s"]
    return Timed(len(ends), float(ends.max() - ends.min()), used.ru_utime + used.ru_stime)


def _drain(terminal: int) -> None:
    with suppress(OSError):  # what Linux says when nobody is at the other end any more
        while os.read(terminal, 65_536):
            pass
    os.close(terminal)


def report(pairs: Sequence[tuple[Timed, Timed]]) -> str:
    """A table of (watched, unwatched) runs and, below it, what watching costs."""
    lines = [
        "| pair | rounds | watched, s | unwatched, s | ratio | driver's CPU, s | unwatched, s |",
        "|---:" * 7 + "|",
    ]
    for number, (on, off) in enumerate(pairs, 1):
        times = f"{on.rounds_s:.2f} | {off.rounds_s:.2f} | {on.rounds_s / off.rounds_s:.4f}"
        lines.append(f"| {number} | {on.rounds} | {times} | {on.driver_s:.2f} | {off.driver_s:.2f} |")
    ratios = sorted(on.rounds_s / off.rounds_s for on, off in pairs)
    more_s = median(on.driver_s - off.driver_s for on, off in pairs)
    whole_s = median(off.rounds_s for _, off in pairs)
    lines += [
        "",
        f"time: {100 * (median(ratios) - 1):+.2f} % in the median, {100 * (ratios[0] - 1):+.2f} to "
        f"{100 * (ratios[-1] - 1):+.2f} %",
        f"processor time of the driver: {more_s:+.2f} s, which is {100 * more_s / whole_s:+.2f} % of the run's time",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenario", nargs="?", default="smoke")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--hosts", type=int, default=1, help="fewer than cores, so that the driver has one")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    settings = given.settings or (list(ROUNDS) if given.scenario == "smoke" else [])
    pairs: list[tuple[Timed, Timed]] = []
    with tempfile.TemporaryDirectory() as place:
        run(given.scenario, settings, given.hosts, Path(place) / "warm", watched=False)  # fills the cache
        for number in range(given.pairs):
            found: dict[bool, Timed] = {}
            for watched in (True, False) if number % 2 else (False, True):
                folder = Path(place) / f"{number}-{watched}"
                found[watched] = run(given.scenario, settings, given.hosts, folder, watched)
            pairs.append((found[True], found[False]))
            print(f"pair {number + 1} of {given.pairs} is done", file=sys.stderr)
    print(report(pairs))


if __name__ == "__main__":
    main()
