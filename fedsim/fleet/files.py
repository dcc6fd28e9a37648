"""A fleet of your own: one row a device, in a CSV or Parquet file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedsim.errors import UserError
from fedsim.fleet import table

LIMITS = {
    "flops_per_s": (1.0, 1e24),
    "memory_bytes": (1.0, 2.0**53),
    "downlink_bits_per_s": (1.0, 1e18),
    "uplink_bits_per_s": (1.0, 1e18),
    "latency_s": (0.0, 1e6),
    "compute_power_w": (0.0, 1e9),
    "radio_power_w": (0.0, 1e9),
}
"""The columns with numbers, and the range of each. Its ends keep every time finite; no device comes near them."""
NAMES = ("device", "network")
UNNAMED = "unnamed"
"""The class of every device in a file without a `device` column (and likewise for `network`)."""


@dataclass(frozen=True)
class Columns:
    """The checked columns of a fleet file; every array has shape [clients]."""

    numbers: Mapping[str, npt.NDArray[np.float64]]
    """Each of `LIMITS`, within them; `memory_bytes` holds whole numbers."""
    codes: Mapping[str, npt.NDArray[np.int16]]
    """Class of each device, by column (`device`, `network`), an index into `names`."""
    names: Mapping[str, tuple[str, ...]]


def read(path: Path, clients: int) -> Columns:
    """Read and check a fleet file.

    Args:
        path: A .csv (UTF-8, with a header) or .parquet file.
        clients: Number of rows it must have.

    Raises:
        UserError: It cannot be read, or a column, the number of rows or a value is wrong.
    """
    found = table.read(path, "fleet.source.path")
    found.check_columns(tuple(LIMITS), NAMES)
    if len(found) != clients:
        raise UserError(
            f"{path} has {len(found)} rows, fleet.clients is {clients}: there must be one row a client",
            key="fleet.clients",
        )
    numbers = {name: found.numbers(name, *LIMITS[name], whole=name == "memory_bytes") for name in LIMITS}
    nothing = np.zeros(clients, dtype=np.int16), (UNNAMED,)
    classes = {name: found.classes(name) if name in found.columns.column_names else nothing for name in NAMES}
    return Columns(
        numbers=numbers,
        codes={name: codes for name, (codes, _) in classes.items()},
        names={name: names for name, (_, names) in classes.items()},
    )
