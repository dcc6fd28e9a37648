"""Runs systems one by one, in turns, and checks where they arrive."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import machine, systems, workload
from benchmarks.systems import System
from benchmarks.workload import Workload

MEMORY_TURN = -1
"""The turn in which memory is sampled, which costs time."""
DISTURBED_CORES = 0.2
"""Processors that others kept busy, from which a run counts as disturbed."""


@dataclass(frozen=True)
class Settings:
    """How often, and how long to wait."""

    turns: int
    memory: bool
    """One more turn, in which memory is sampled."""
    wait_s: float
    """For a quiet machine, at most."""
    retries: int
    """More runs where others disturbed one, at most."""
    timeout_s: float
    """Of a run."""


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
    """0 where it was not sampled."""
    versions: dict[str, str]


class Bench:
    """All systems on one work, each run in a folder of its own."""

    def __init__(self, work: Workload, folder: Path, settings: Settings) -> None:
        self.work, self.folder, self.settings = work, folder, settings
        self.timings: list[Timing] = []
        self.failures: dict[str, str] = {}
        """System -> what went wrong; it is not run again."""
        self._first = workload.flat(work.model()).numpy()
        self._reference: workload.Floats | None = None

    def prepare(self, file: Path) -> None:
        """Fill the cache of tokens, which all runs of a scenario share, and check that it can be priced."""
        folder = self.folder / "prepare"
        folder.mkdir()
        command = (sys.executable, "-m", "fedsim", "scenario", str(file), "--price", "--out", str(folder / "run"))
        environment = systems.environment(folder, self.folder / "cache")
        machine.run(command, folder, environment, self.settings.timeout_s, False)

    def measure(self, chosen: Sequence[System]) -> None:
        """Every system once a turn, turn after turn, so that a change of the machine's mood meets all of them."""
        for turn in (*range(self.settings.turns), *([MEMORY_TURN] if self.settings.memory else [])):
            for system in chosen:
                if system.name not in self.failures and (system.always or turn == 0):
                    try:
                        self._once(system, turn)
                    except RuntimeError as error:
                        self.failures[system.name] = str(error)
                        print(f"{system.label}: {error}", file=sys.stderr, flush=True)

    def check(self, system: System, weights: workload.Floats) -> float:
        """Distance of final weights to the reference's, which the reference itself sets.

        Raises:
            RuntimeError: further off than arithmetic explains, or there is no reference yet.
        """
        if self._reference is None:
            if system.name != systems.REFERENCE:
                raise RuntimeError("there is no reference to compare it to")
            self._reference = weights
        distance = workload.distance(weights, self._reference, self._first)
        most = workload.tolerance(self.work, self._reference, self._first)
        if not distance <= most:
            raise RuntimeError(f"the final weights are {distance:.1e} off those of the reference; allowed: {most:.1e}")
        return distance

    def _once(self, system: System, turn: int) -> None:
        """One run; where others disturbed it, the quietest of some more."""
        tries = [self._try(system, turn)]
        while tries[-1].elsewhere_cores > DISTURBED_CORES and len(tries) <= self.settings.retries:
            tries.append(self._try(system, turn))
        self.timings.append(min(tries, key=lambda timing: timing.elsewhere_cores))

    def _try(self, system: System, turn: int) -> Timing:
        folder = Path(tempfile.mkdtemp(prefix=f"{system.name}-", dir=self.folder))
        command = [word.replace("{folder}", str(folder)) for word in system.command]
        environment = systems.environment(folder, self.folder / "cache")
        machine.wait_until_quiet(self.settings.wait_s)
        started, used = machine.run(command, folder, environment, self.settings.timeout_s, turn == MEMORY_TURN)
        outcome = systems.read(self.work, system, folder)
        distance = self.check(system, outcome.weights)
        seconds = tuple(round(after - before, 5) for before, after in pairwise(outcome.round_ends))
        timing = Timing(
            system=system.name,
            turn=turn,
            round_s=seconds,
            updates_per_s=round(self.work.cohort_clients / median(seconds), 3),
            first_round_done_s=round(outcome.round_ends[0] - started, 3),
            distance=distance,
            elsewhere_cores=round(used.elsewhere_cores, 3),
            peak_bytes=used.peak_bytes,
            versions=outcome.versions,
        )
        print(
            f"{system.label:55s} {timing.updates_per_s:7.2f} updates/s, first round after "
            f"{timing.first_round_done_s:5.1f} s, {used.seconds:5.1f} s in all, distance {distance:.0e}; "
            f"others used {timing.elsewhere_cores:.2f} cores",
            flush=True,
        )
        return timing
