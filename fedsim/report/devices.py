"""What a run has cost the devices of each class, and what came of it."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fedsim.clock.trips import Outcome
from fedsim.report.layout import Grid
from fedsim.report.units import duration, joules, megabytes, share
from fedsim.trace.manifest import Manifest, trace_folder

_SUMMED = ("download_bytes", "upload_bytes", "energy_j")
_COLUMNS = ("device", "outcome", "start_s", "end_s", *_SUMMED)
_OUTCOMES = (Outcome.completed, Outcome.late, Outcome.dropped, Outcome.out_of_memory, Outcome.unused)
_HEADERS = (
    "method",
    "device",
    "trips",
    *(outcome.value.replace("_", "\n") for outcome in _OUTCOMES),
    "device\ntime",
    "energy",
    "energy\na trip",
    "up, MB",
    "down, MB",
)
_SPARE = tuple(map(_HEADERS.index, ("down, MB", "up, MB", "unused", "energy\na trip")))


def devices(run: Path, methods: Iterable[str]) -> Grid:
    """Trips, outcomes, time, energy and bytes of a run by class of device.

    Raises:
        UserError: a file of the trace is missing or damaged.
    """
    rows, sections = list[tuple[str, ...]](), set[int]()
    for method in methods:
        sections.add(len(rows))
        for row in by_class(run, method).to_pylist():
            trips = row["trips"]
            rows.append(
                (
                    method,
                    row["device"],
                    f"{trips:,}",
                    *(share(row[outcome.value], trips) for outcome in _OUTCOMES),
                    duration(row["device_seconds"]),
                    joules(row["energy_j"]),
                    joules(row["energy_j"] / trips),
                    megabytes(row["upload_bytes"]),
                    megabytes(row["download_bytes"]),
                )
            )
    return Grid(
        _HEADERS, rows, "device classes", left=frozenset({0, 1}), sections=frozenset(sections - {0}), spare=_SPARE
    )


def by_class(run: Path, method: str) -> pa.Table:
    """Sums over a method's trips by class of device, in alphabetical order; one part of the trace is read at a time."""
    folder = trace_folder(run, method)
    parts = Manifest.load(folder).parts_of("trips")
    sums = [_sums(pq.ParquetFile(part.check(folder)).read(list(_COLUMNS))) for part in parts]
    if not sums:
        return pa.table({})
    whole = pa.concat_tables(sums)
    names = [name for name in whole.column_names if name != "device"]
    total = whole.group_by("device").aggregate([(name, "sum") for name in names]).sort_by("device")
    return total.select(["device", *(f"{name}_sum" for name in names)]).rename_columns(["device", *names])


def _sums(trips: pa.Table) -> pa.Table:
    columns = {"device": trips["device"], "trips": pa.repeat(1, len(trips))}
    columns |= {o.value: pc.cast(pc.equal(trips["outcome"], o.value), pa.int64()) for o in _OUTCOMES}
    columns["device_seconds"] = pc.subtract(trips["end_s"], trips["start_s"])
    columns |= {name: trips[name] for name in _SUMMED}
    names = [name for name in columns if name != "device"]
    total = pa.table(columns).group_by("device").aggregate([(name, "sum") for name in names])
    return total.select(["device", *(f"{name}_sum" for name in names)]).rename_columns(["device", *names])
