"""Medians over runs, and ratios within turns, of what results/NAME.json holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.bench import MEMORY_TURN
from benchmarks.systems import REFERENCE

Content = Mapping[str, Any]
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One system on one work."""

    name: str
    label: str
    family: str
    less: bool
    runs: int
    updates_per_s: float
    slowest: float
    fastest: float
    relative: float | None
    """To the best bare loop, in the same turn; None: there is none, or never in a turn with it."""
    first_round_done_s: float
    peak_bytes: int
    """0 where it was not sampled."""
    distance: float
    """The largest."""


def rows(content: Content) -> list[Row]:
    """All systems that were timed, in the order in which they were run."""
    best = best_loop(content)
    found = []
    for name, about in content["systems"].items():
        runs = _timed(content, name)
        if not runs:
            continue
        speeds = [run["updates_per_s"] for run in runs]
        sampled = [run["peak_bytes"] for run in _runs(content, name)]
        found.append(
            Row(
                name=name,
                **about,
                runs=len(runs),
                updates_per_s=median(speeds),
                slowest=min(speeds),
                fastest=max(speeds),
                relative=ratio(content, name, best) if best else None,
                first_round_done_s=median(run["first_round_done_s"] for run in runs),
                peak_bytes=max(sampled, default=0),
                distance=max(run["distance"] for run in runs),
            )
        )
    return found


def best_loop(content: Content) -> str | None:
    """The fastest loop of plain torch that does the same work as the others; None: only the reference was run."""
    loops = [name for name, about in content["systems"].items() if about["family"] == "bare" and not about["less"]]
    return None if loops == [REFERENCE] else _best(content, loops)


def fastest(content: Content, peer: str) -> str | None:
    """The fastest way in which another simulator was run; None: it was not."""
    return _best(content, [name for name in content["systems"] if name.partition("-")[0] == peer])


def _best(content: Content, names: Sequence[str]) -> str | None:
    """The largest median, among those that were run most often."""
    speeds = {name: [run["updates_per_s"] for run in _timed(content, name)] for name in names}
    most = max((len(runs) for runs in speeds.values()), default=0)
    medians = {name: median(runs) for name, runs in speeds.items() if runs and len(runs) == most}
    return max(medians, key=lambda name: medians[name]) if medians else None


def ratio(content: Content, ours: str, theirs: str, key: str = "updates_per_s") -> float | None:
    """Median of ours through theirs, both from the same turn; None: there is no such turn."""
    mine, other = ({run["turn"]: run[key] for run in _timed(content, name)} for name in (ours, theirs))
    ratios = [mine[turn] / other[turn] for turn in mine if turn in other]
    return median(ratios) if ratios else None


def _timed(content: Content, name: str) -> Sequence[Run]:
    return [run for run in _runs(content, name) if run["turn"] != MEMORY_TURN]


def _runs(content: Content, name: str) -> Sequence[Run]:
    return [run for run in content["timings"] if run["system"] == name]
