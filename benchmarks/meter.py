"""What a timed run leaves behind: when each round ended, its final weights, its versions."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.workload import Floats

FOLDER, START = "BENCH_FOLDER", "BENCH_START"
"""Environment variables: where a run leaves its result, and when its process was started (seconds since 1970)."""


class Meter:
    """Marks the start of the first round and the end of every round."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def mark(self) -> None:
        """A round begins or ends now."""
        self.marks.append(time.time())

    def finish(self, weights: Floats, **versions: str) -> None:
        """Write the result; the first mark is the start of round 0."""
        folder = Path(os.environ[FOLDER])
        np.save(folder / "weights.npy", weights)
        write(folder, self.marks[1:], versions)


def write(folder: Path, round_ends: Sequence[float], versions: dict[str, str]) -> None:
    """Write a run's times."""
    (folder / "result.json").write_text(json.dumps({"round_ends": list(round_ends), "versions": versions}))
