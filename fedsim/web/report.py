"""Runs as one file that opens anywhere: the page, with all that it shows inside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedsim.errors import FedsimError, UserError
from fedsim.report import style
from fedsim.report.compare import of_runs
from fedsim.report.spread import Repeats, Spread, Summary, quality, quality_keys, repeats, spread
from fedsim.report.tradeoff import SUMMED
from fedsim.web import page, trips
from fedsim.web.fleet import FleetView
from fedsim.web.follow import Followed

LARGEST_BYTES = 5_000_000
"""A file that still goes into an e-mail."""
_POINTS, _TRIPS, _DEVICES = 40_000, 8_000, 20_000
"""Points of curves, trips and devices in a file, over all runs and methods."""
_LEAST_POINTS, _LEAST_TRIPS = 40, 30


def save(folders: Sequence[Path], file: Path | None = None) -> Path:
    """Write the report of runs; returns the file, which is `report-SCENARIO.html` here if none is given.

    Raises:
        UserError: as `document`, or the file cannot be written.
    """
    content = document(folders).encode()
    file = file or Path(f"report-{Followed(folders[0]).scenario.name}.html")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UserError(f"is {file}, which cannot be written: {error.strerror}", key="--html") from error
    return file


def document(folders: Sequence[Path]) -> str:
    """The report of runs as HTML, at most `LARGEST_BYTES` long in UTF-8.

    Of large runs it holds as many points, rounds, trips and devices as there is room for; sums are over everything.

    Raises:
        UserError: not a run's folder, a damaged one, one in which no round is over; or there are too many runs.
    """
    runs = [Followed(folder, proven=True) for folder in folders]
    for run in runs:
        if not run.started:
            raise UserError("no round is over yet, so there is nothing to report", file=run.folder)
    together = _together(repeats(folders)) if len(runs) > 1 else None
    fleets = [(run, FleetView(run)) for run in runs]
    for room in (1.0, 0.5, 0.25, 0.1):
        model = {
            "live": False,
            "runs": [page.overview(run, _each(_POINTS * room, runs, _LEAST_POINTS, 500)) for run in runs],
            "about": [page.about(run) for run in runs],
            "rounds": [_rounds(run, _each(_TRIPS * room, runs, _LEAST_TRIPS)) for run in runs],
            "fleets": [_fleet(view, run.methods, int(_DEVICES * room) // len(runs)) for run, view in fleets],
            "together": together,
        }
        text = page.whole(model)
        if len(text.encode()) <= LARGEST_BYTES:
            return text
    raise UserError(f"{len(runs)} runs do not fit into one file of {LARGEST_BYTES // 10**6} MB: give fewer")


def _each(room: float, runs: Sequence[Followed], least: int, most: int = 10**9) -> int:
    """A method's part."""
    return min(max(int(room / sum(len(run.methods) for run in runs)), least), most)


def _rounds(run: Followed, room: int) -> dict[str, dict[int, Any]]:
    """Of every method the first round, the last one, and others at equal distances, until so many trips are told."""
    found = {}
    for method in run.methods:
        rounds = run.table(method, "rounds")
        if not rounds.num_rows:
            continue
        numbers, largest = rounds["round"].to_numpy(), max(rounds["cohort"].to_pylist())
        wanted = min(len(numbers), max(2, room // max(1, min(largest, trips.TRIPS))))
        chosen = np.unique(np.round(np.linspace(0, len(numbers) - 1, wanted)).astype(np.int64))
        most = max(_LEAST_TRIPS // 2, min(trips.TRIPS, room // wanted))
        found[method] = {int(n): trips.of_round(run, method, int(n), most) for n in numbers[chosen]}
    return found


def _fleet(view: FleetView, methods: Sequence[str], most: int) -> dict[str, Any]:
    most = min(most, 1500)
    try:
        own = {method: view.taken(method, most) for method in methods}
        return {"all": view.devices(most), "methods": own}
    except FedsimError as error:  # a fleet of a file that is gone; the page says so in its place
        return {"error": str(error)}


def _together(found: Sequence[Repeats]) -> dict[str, Any]:
    """Runs that differ in their seeds alone as one: the table that `compare` prints, and points with deviations."""
    every = [own for group in found for summaries in group.methods.values() for own in summaries]
    keys = [key for key in quality_keys(every) if "/personal_" not in key]
    names = list(dict.fromkeys(name for group in found for name in group.methods))
    looks = style.styles(names)
    points = []
    for group in found if keys else ():
        for name, summaries in group.methods.items():
            if (reached := quality(summaries, keys[-1])) is not None:
                points.append(
                    {
                        "label": name if len(found) == 1 else f"{group.labels[0]}: {name}",
                        "colour": looks[name]["color"],
                        "marker": looks[name]["marker"],
                        "value": _told(reached),
                        "costs": {cost: _told(_cost(summaries, columns)) for cost, columns in SUMMED.items()},
                    }
                )
    metric = keys[-1].rpartition("/")[2] if keys else ""
    return {
        "table": page.table(of_runs(found, 0)),
        "metric": style.LABELS.get(metric, metric.replace("_", " ")),
        "points": points,
    }


def _cost(summaries: Sequence[Summary], columns: Sequence[str]) -> Spread:
    found = spread(sum(own[column] for column in columns) for own in summaries)
    assert found is not None
    return found


def _told(found: Spread) -> Mapping[str, Any]:
    return {"n": found.n, "mean": found.mean, "deviation": found.deviation}
