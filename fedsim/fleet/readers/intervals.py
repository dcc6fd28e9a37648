"""Availability of your own: one row an interval, in a CSV or Parquet file."""

from pathlib import Path

import numpy as np

from fedsim.errors import UserError
from fedsim.fleet import table
from fedsim.fleet.availability.recorded import Intervals, Overlap
from fedsim.fleet.readers.recordings import Recordings


def read(path: Path, period_s: float, key: str) -> Recordings:
    """Read and check a file of intervals.

    Args:
        path: A .csv or .parquet file with the columns `client` (any name or number), `start_s` and `end_s`, rows in any
            order. Recordings are in the order in which clients first come.
        period_s: After so many seconds every recording begins anew.
        key: The scenario's key that names the file.

    Raises:
        UserError: It cannot be read, a column or a value is wrong, or intervals of a client overlap.
    """
    found = table.read(path, key)
    found.check_columns(("client", "start_s", "end_s"))
    if not len(found):
        raise UserError("has no rows: there must be an interval", file=path, key=key)
    clients, names = found.keys("client")
    start_s = found.numbers("start_s", 0.0, period_s)
    end_s = found.numbers("end_s", 0.0, period_s)
    order = np.lexsort((start_s, clients))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(clients))])
    try:
        intervals = Intervals.checked(
            start_s[order], end_s[order], offsets, np.full(len(names), period_s, dtype=np.float64)
        )
    except Overlap as error:
        raise found.bad_row(int(order[error.interval]), f"is {error}", f"client {names[error.recording]}") from None
    return Recordings(intervals, names)
