"""FedScale's two pickles (github.com/SymbioticLab/FedScale): what devices can do, and when they are there.

Both are dictionaries by client number. `client_device_capacity` has ``{"computation": ms, "communication": kbit/s}``:
the time of a forward pass on one sample, of the model it was measured with, and one bandwidth for both directions.
`client_behave_trace` has ``{"active": [s, ...], "inactive": [s, ...], "finish_time": s, ...}``: the device is there
from each `active` to the `inactive` at the same place, and after `finish_time` it begins anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedsim.errors import UserError
from fedsim.fleet.availability.recorded import Intervals, Overlap
from fedsim.fleet.readers import pickles
from fedsim.fleet.readers.recordings import Recordings, Spans
from fedsim.fleet.table import content

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Capacity:
    """What FedScale's devices can do; every array has shape [clients]."""

    sample_s: FloatArray
    """Time of a forward pass on one sample."""
    bits_per_s: FloatArray
    """Bandwidth, in either direction."""


def capacity(path: Path, clients: int, key: str) -> Capacity:
    """The first `clients` devices of a capacity file, in its order.

    Raises:
        UserError: It cannot be read, has too few devices, asks for more than data, or a value is wrong.
    """
    rows = _entries(path, clients, key)
    if len(rows) < clients:
        fault = f"{path} has {len(rows)} devices, fleet.clients is {clients}: at most that many are possible"
        raise UserError(fault, key="fleet.clients")
    chosen = list(rows.items())[:clients]
    numbers = {
        name: np.array([_number(path, client, row, name, 1e-6, 1e12) for client, row in chosen])
        for name in ("computation", "communication")
    }
    return Capacity(numbers["computation"] / 1e3, numbers["communication"] * 1e3)


def behaviour(path: Path, recordings: int, key: str) -> Recordings:
    """The first recordings of a behaviour file, in its order; as many as there are, up to `recordings`.

    What lies after `finish_time` never comes to pass, and is cut off.

    Raises:
        UserError: It cannot be read, asks for more than data, or a value is wrong.
    """
    chosen = list(_entries(path, recordings, key).items())[:recordings]
    found = [_spans(path, client, row) for client, row in chosen]
    if not found:
        raise UserError("holds no recording", file=path, key=key)
    try:
        intervals = Intervals.of(found)
    except Overlap as error:
        client = chosen[error.recording][0]
        raise UserError(f"an interval of client {client} is {error}", file=path, key=f"{client}.active") from None
    return Recordings(intervals, tuple(str(client) for client, _ in chosen))


def _entries(path: Path, wanted: int, key: str) -> Mapping[Any, Any]:
    try:
        rows = pickles.loads(content(path, key), entries=wanted)
    except pickles.Unsafe as error:
        raise UserError(f"is not a pickle of plain data: it {error}", file=path, key=key) from None
    if not isinstance(rows, dict):
        raise UserError(f"holds a {type(rows).__name__}, it must be a dictionary by client", file=path, key=key)
    return rows


def _spans(path: Path, client: Any, row: Any) -> tuple[Spans, float]:
    period = _number(path, client, row, "finish_time", 1e-3, 1e12)
    starts, ends = (_numbers(path, client, row, name) for name in ("active", "inactive"))
    if len(starts) != len(ends):
        fault = f"has {len(ends)} entries, `active` has {len(starts)}: they belong together"
        raise UserError(fault, file=path, key=f"{client}.inactive")
    return [(a, min(b, period)) for a, b in zip(starts, ends, strict=True) if a < period], period


def _numbers(path: Path, client: Any, row: Any, name: str) -> list[float]:
    values = _field(path, client, row, name)
    if not isinstance(values, list | tuple):
        fault = f"is a {type(values).__name__}, it must be a list of numbers"
        raise UserError(fault, file=path, key=f"{client}.{name}")
    return [_checked(path, f"{client}.{name}.{i}", value, 0.0, 1e12) for i, value in enumerate(values)]


def _number(path: Path, client: Any, row: Any, name: str, low: float, high: float) -> float:
    return _checked(path, f"{client}.{name}", _field(path, client, row, name), low, high)


def _field(path: Path, client: Any, row: Any, name: str) -> Any:
    if not isinstance(row, dict) or name not in row:
        raise UserError(f"client {client} has no `{name}`", file=path, key=f"{client}.{name}")
    return row[name]


def _checked(path: Path, key: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"is {value!r}, it must be a number from {low:g} to {high:g}", file=path, key=key)
    return float(value)
