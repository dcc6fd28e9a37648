"""A fleet of your own: one row a device, in a CSV or Parquet file."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from fedsim.errors import UserError, choose

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
MOST_CLASSES = 2**15

# What Arrow can turn into a float64; `nan` and `inf` are numbers here, and refused later for what they are.
NUMBER = r"^-?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|inf|nan|Inf|NaN)$"


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
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"unknown ending '{path.suffix}'; {choose(path.suffix, readers)}", file=path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the fleet file cannot be read: {error.strerror}", file=path, key="fleet.source.path"
        ) from None
    table = reader(data, path)
    _check_columns(table.column_names, path)
    if table.num_rows != clients:
        raise UserError(
            f"{path} has {table.num_rows} rows, fleet.clients is {clients}: there must be one row a client",
            key="fleet.clients",
        )
    numbers = {name: _numbers(table.column(name), name, path) for name in LIMITS}
    classes = {name: _classes(table, name, path) for name in NAMES}
    return Columns(
        numbers=numbers,
        codes={name: codes for name, (codes, _) in classes.items()},
        names={name: names for name, (_, names) in classes.items()},
    )


def _read_csv(data: bytes, path: Path) -> Any:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError("is not UTF-8 text: save it as UTF-8", file=path, line=line) from None
    uneven: list[pyarrow.csv.InvalidRow] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    try:
        # The header is read as data, so that every column arrives as text: a value that is no number is then named
        # by its row. One thread, because only then does Arrow count rows.
        cells = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=refuse),
        )
    except pa.ArrowInvalid as error:
        if uneven:
            values, columns = uneven[0].actual_columns, uneven[0].expected_columns
            problem = f"has {values} values for {columns} columns"
            raise _bad_row(uneven[0].number - 2, problem, path) from None
        raise UserError(f"is not a CSV table: {error}", file=path) from None
    texts = [pc.utf8_trim_whitespace(column.cast(pa.string())) for column in cells.columns]
    return pa.table([column.slice(1) for column in texts], names=[column[0].as_py() for column in texts])


def _read_parquet(data: bytes, path: Path) -> Any:
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"is not a whole Parquet file: {error}", file=path) from None


def _check_columns(found: list[str], path: Path) -> None:
    known = (*LIMITS, *NAMES)
    for name in found:
        if name not in known:
            raise UserError(f"unknown column '{name}'; {choose(name, known)}", file=path, key=name)
        if found.count(name) > 1:
            raise UserError("there are two columns of this name", file=path, key=name)
    for name in LIMITS:
        if name not in found:
            raise UserError(f"this column is missing; a fleet file has {', '.join(LIMITS)}", file=path, key=name)


def _numbers(column: Any, name: str, path: Path) -> npt.NDArray[np.float64]:
    kind = column.type
    _check_present(column, name, path)
    if pa.types.is_string(kind):
        if (row := _first(pc.invert(pc.match_substring_regex(column, NUMBER)))) is not None:
            raise _bad_row(row, f"is '{column[row]}', which is not a number", path, name)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise UserError(f"the column holds {kind}, it must hold numbers", file=path, key=name)
    values: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    low, high = LIMITS[name]
    good = (low <= values) & (values <= high)
    what = "number"
    if name == "memory_bytes":
        good &= values == np.floor(values)
        what = "whole number"
    if (row := _first(~good)) is not None:
        raise _bad_row(row, f"is {values[row]:g}, it must be a {what} from {low:g} to {high:g}", path, name)
    return values


def _classes(table: Any, name: str, path: Path) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    if name not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int16), (UNNAMED,)
    column = table.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"the column holds {column.type}, it must hold text", file=path, key=name)
    column = column.cast(pa.string())
    _check_present(column, name, path)
    names = column.unique()
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{len(names)} different values, at most {MOST_CLASSES} are possible: it names the class, not the device",
            file=path,
            key=name,
        )
    codes: npt.NDArray[np.int16] = pc.index_in(column, value_set=names).to_numpy().astype(np.int16)
    return codes, tuple(names.to_pylist())


def _check_present(column: Any, name: str, path: Path) -> None:
    missing = pc.is_null(column)
    if pa.types.is_string(column.type):
        missing = pc.or_kleene(missing, pc.equal(column, ""))
    if (row := _first(missing)) is not None:
        raise _bad_row(row, "has no value", path, name)


def _first(mask: Any) -> int | None:
    """The first row that is true in this Arrow or NumPy column."""
    rows = np.flatnonzero(np.asarray(mask))
    return int(rows[0]) if len(rows) else None


def _bad_row(row: int, problem: str, path: Path, name: str | None = None) -> UserError:
    line = _line(path, row) if path.suffix.lower() == ".csv" else None
    return UserError(f"row {row + 1} {problem}", file=path, line=line, key=name)


def _line(path: Path, row: int) -> int:
    """The line that ends this row (0 is the first below the header); blank lines are no rows."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        rows = (reader.line_num for cells in reader if cells)
        return next(islice(rows, row + 1, None))
