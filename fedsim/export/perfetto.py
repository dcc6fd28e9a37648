"""The simulated timeline of a run as a Chrome trace: who downloads, computes and uploads when, and who is lost."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedsim.errors import UserError
from fedsim.export.cut import Cut
from fedsim.export.timeline import Timeline, nanoseconds
from fedsim.store import atomic
from fedsim.trace.reader import Run

if TYPE_CHECKING:
    import pandas as pd

LEGS = ("download", "compute", "exchange", "server", "wait", "upload")
"""Parts of a trip, in the order in which they are drawn; the trace has the seconds of each."""
CLIENT_TRIPS = 20_000
"""With more trips than this each class of devices has a track, and not each client."""
MOST_CLIENT_TRIPS = 500_000
"""With more trips than this there cannot be a track for each client: the page that shows them would not open."""
BINS = 1000
"""Points in time at which the curves of a class of devices have a value."""

Tracks = Literal["clients", "devices"]

_TRIP = ("round", "client", "device", "outcome", "cause", "start_s", "end_s", "staleness", "samples", "download_bytes",
         "upload_bytes", "flops_forward", "flops_backward", "loss", *(f"{leg}_s" for leg in LEGS))  # fmt: skip


def perfetto(run: Run, cut: Cut, tracks: Tracks | None, file: Path) -> list[Path]:
    """Write the timeline, compressed where the file's name ends in .gz. Returns the file.

    Args:
        run: the run.
        cut: its methods and rounds.
        tracks: one for each client, with a slice for each part of a trip, or for each class of devices, with curves of
            how many of them do what; None: clients, unless there are too many trips for that.
        file: where to.

    Raises:
        UserError: there are no trips, or too many for a track for each client.
    """
    trips = sum(part.num_rows for part in run.scan("trips", ["round"], cut.filters("trips")))
    if not trips:
        raise UserError("there are no trips in these rounds", file=run.path, key="--rounds")
    if tracks == "clients" and trips > MOST_CLIENT_TRIPS:
        fault = f"{trips:,} trips are too many for a track for each client: cut with --rounds, or take devices"
        raise UserError(fault, key="--tracks")
    kind = tracks or ("clients" if trips <= CLIENT_TRIPS else "devices")
    line = Timeline()
    for method in cut.methods:
        own = Cut((method,), cut.first, cut.last)
        pid = line.process(method)
        _rounds(line, pid, run.read("rounds", filters=own.filters("rounds")))
        _lessons(line, pid, run.read("lessons", filters=own.filters("lessons")))
        _evals(line, pid, run.read("evals", filters=own.filters("evals")))
        frame = run.read("trips", _TRIP, own.filters("trips"))
        if kind == "clients":
            _clients(line, pid, frame)
        else:
            _devices(line, pid, frame)
    about = {"run": run.path.resolve().name, "clock": "simulated", "fingerprint": run.summary.get("fingerprint", "")}
    content = json.dumps(line.document(about), allow_nan=False, separators=(",", ":")).encode()
    atomic.write_bytes(file, gzip.compress(content, 6, mtime=0) if file.suffix == ".gz" else content)
    return [file]


def _rounds(line: Timeline, pid: int, rounds: "pd.DataFrame") -> None:
    """A slice for each round and for each stage, and what has been sent so far as a counter."""
    track = line.track(pid, "rounds", 1)
    sent = {"upload": 0.0, "download": 0.0}
    for row in _rows(rounds):
        names = ("phase", "stage", "cohort", "completed", "late", "dropped", "out_of_memory", "unused", "failed",
                 "rejected", "download_bytes", "upload_bytes", "flops_forward", "flops_backward", "loss")  # fmt: skip
        start, end = nanoseconds(row["start_s"]), nanoseconds(row["end_s"])
        line.slice(pid, track, f"round {row['round']}", start, end, _args(row, names))
        sent = {leg: total + row[f"{leg}_bytes"] / 1e6 for leg, total in sent.items()}
        line.counter(pid, "sent in these rounds, MB", end, sent)
    track = line.track(pid, "stages", 0)
    for (phase, stage), own in rounds.groupby(["phase", "stage"], sort=False):
        start, end = nanoseconds(own["start_s"].min()), nanoseconds(own["end_s"].max())
        line.slice(pid, track, f"{phase} stage {stage}", start, end, {"rounds": len(own)})


def _lessons(line: Timeline, pid: int, lessons: "pd.DataFrame") -> None:
    for row in _rows(lessons):
        args = _args(row, ("phase", "device", "steps", "flops_forward", "flops_backward", "loss"))
        start, end = nanoseconds(row["start_s"]), nanoseconds(row["end_s"])
        line.slice(pid, line.track(pid, "server", 2), row["lesson"], start, end, args)


def _evals(line: Timeline, pid: int, evals: "pd.DataFrame") -> None:
    """A counter for each metric."""
    for row in _rows(evals):
        if np.isfinite(row["value"]):
            line.counter(
                pid, f"{row['phase']} {row['metric']}", nanoseconds(row["simulated_s"]), {"value": row["value"]}
            )


def _clients(line: Timeline, pid: int, trips: "pd.DataFrame") -> None:
    """For each client a slice a trip, with its legs inside, and a mark where it did not come to its end."""
    for row in _rows(trips):
        client = row["client"]
        name = f"client {client} ({row['device']})" if client >= 0 else f"central ({row['device']})"
        track = line.track(pid, name, 10 + client)
        args = _args(row, _TRIP[3:14])
        start, last = nanoseconds(row["start_s"]), nanoseconds(row["end_s"])
        line.slice(pid, track, f"round {row['round']}: {row['outcome']}", start, last, args)
        at_s = row["start_s"]
        for leg in LEGS:
            begins_s, at_s = at_s, at_s + row[f"{leg}_s"]
            if (ends := min(nanoseconds(at_s), last)) > (begins := nanoseconds(begins_s)):
                line.slice(pid, track, leg, begins, ends, {})
        if row["outcome"] != "completed":
            line.instant(pid, track, row["outcome"], last, _args(row, ("round", "cause")))


def _devices(line: Timeline, pid: int, trips: "pd.DataFrame") -> None:
    """For each class of devices how many are at which part of a trip: means over short times, whose sums are exact."""
    last_s = float(trips["end_s"].max())
    edges = np.linspace(float(trips["start_s"].min()), last_s, BINS + 1)
    width_s = edges[1] - edges[0]
    for device, own in trips.groupby("device", observed=True):
        begins = own["start_s"].to_numpy()
        curves = {}
        for leg in LEGS:
            ends = begins + own[f"{leg}_s"].to_numpy()
            if (ends > begins).any():
                curves[leg] = np.diff(_busy_s(begins, edges) - _busy_s(ends, edges)) / max(width_s, 1e-9)
            begins = ends
        lost = np.histogram(own["end_s"].to_numpy()[(own["outcome"] != "completed").to_numpy()], edges)[0]
        for index, at_s in enumerate(edges[:-1].tolist()):
            values = {leg: round(float(curve[index]), 9) for leg, curve in curves.items()}
            line.counter(pid, f"{device}: devices at work", nanoseconds(at_s), values)
            if lost.any():
                line.counter(pid, f"{device}: trips lost", nanoseconds(at_s), {"trips": int(lost[index])})
        line.counter(pid, f"{device}: devices at work", nanoseconds(last_s), dict.fromkeys(curves, 0))


def _busy_s(since: "np.typing.NDArray[np.float64]", times: "np.typing.NDArray[np.float64]") -> Any:
    """For each time, the seconds that have passed since each of `since` that lies before it, summed."""
    ordered = np.sort(since)
    before = np.searchsorted(ordered, times, "right")
    return before * times - np.concatenate([[0.0], np.cumsum(ordered)])[before]


def _rows(frame: "pd.DataFrame") -> Iterator[dict[str, Any]]:
    """Its rows as plain Python values."""
    names = list(frame.columns)
    return (dict(zip(names, values, strict=True)) for values in zip(*(frame[n].tolist() for n in names), strict=True))


def _args(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What is shown beside an event that is chosen; a missing number is left out."""
    return {name: row[name] for name in names if row[name] is not None and row[name] == row[name]}
