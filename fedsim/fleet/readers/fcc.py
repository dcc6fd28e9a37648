"""Home connections in the United States, from the FCC's *Measuring Broadband America*, whose data are free to use.

Three tables of a month's raw or validated data are read, one row a test: `curr_httpgetmt.csv` and `curr_httppostmt.csv`
(download and upload over several connections, `bytes_sec`), and `curr_udplatency.csv` or `curr_ping.csv` (`rtt_avg`, in
microseconds). A connection (`unit_id`) has the median of its tests that had a success; connections that are not in all
three tables, or of which half of the tests moved nothing, are left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedsim.errors import UserError
from fedsim.fleet import table

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Links:
    """Measured connections, ascending by number; every array has shape [units]."""

    unit: npt.NDArray[np.int64]
    """The FCC's number of each."""
    downlink_bits_per_s: FloatArray
    uplink_bits_per_s: FloatArray
    latency_s: FloatArray
    left_out: int
    """Connections that are in some table but cannot be used."""

    def __len__(self) -> int:
        return len(self.unit)


def read(download: Path, upload: Path, latency: Path, key: str) -> Links:
    """Read the three tables of a month.

    Args:
        download: `curr_httpgetmt.csv`.
        upload: `curr_httppostmt.csv`.
        latency: `curr_udplatency.csv` or `curr_ping.csv`.
        key: The scenario's key under which the three are named.

    Raises:
        UserError: A file cannot be read, a column or a value is wrong, or no connection is in all three.
    """
    found = {
        "download": _medians(download, "bytes_sec", f"{key}.download"),
        "upload": _medians(upload, "bytes_sec", f"{key}.upload"),
        "latency": _medians(latency, "rtt_avg", f"{key}.latency"),
    }
    everywhere = set.intersection(*(set(own) for own in found.values()))
    useful = sorted(unit for unit in everywhere if all(own[unit] > 0 for own in found.values()))
    if not useful:
        raise UserError(f"no unit_id of {download}, {upload} and {latency} has tests in all three", key=key)
    columns = {name: np.array([own[unit] for unit in useful]) for name, own in found.items()}
    return Links(
        unit=np.array(useful, np.int64),
        downlink_bits_per_s=8 * columns["download"],
        uplink_bits_per_s=8 * columns["upload"],
        latency_s=columns["latency"] / 1e6,
        left_out=len(set.union(*(set(own) for own in found.values()))) - len(useful),
    )


def _medians(path: Path, column: str, key: str) -> dict[int, float]:
    """Median of each unit's successful tests."""
    found = table.read(path, key)
    names = found.columns.column_names
    if names and names[0].startswith("#"):  # as in the data of 2011
        found = table.Table(path, found.columns.rename_columns([names[0].lstrip("# "), *names[1:]]))
    found.check_columns(("unit_id", column, "successes"), optional=None)
    unit = found.numbers("unit_id", 0, 2.0**53, whole=True).astype(np.int64)
    good = found.numbers("successes", 0, 2.0**53, whole=True) > 0
    values = found.numbers(column, 0, 1e15)
    unit, values = unit[good], values[good]
    order = np.lexsort((values, unit))
    units, first, counts = np.unique(unit[order], return_index=True, return_counts=True)
    ranked = values[order]
    # The middle of each run of ascending values: one value, or the mean of two.
    low, high = ranked[first + (counts - 1) // 2], ranked[first + counts // 2]
    return dict(zip(units.tolist(), ((low + high) / 2).tolist(), strict=True))
