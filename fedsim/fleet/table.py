"""Tables that users bring, in CSV or Parquet: every mistake is told with its file, row, line and column."""

import csv
from collections.abc import Collection, Sequence
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

MOST_BYTES = 2**30
"""Larger files are refused: they would be read into memory whole."""
MOST_CLASSES = 2**15

# What Arrow can turn into a float64; `nan` and `inf` are numbers here, and refused later for what they are.
_NUMBER = r"^-?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|inf|nan|Inf|NaN)$"


@dataclass(frozen=True)
class Table:
    """A table as it was read; nothing but its form is checked yet."""

    path: Path
    columns: Any
    """A pyarrow table; from CSV all columns are text without blanks around it."""

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def check_columns(self, needed: Collection[str], optional: Collection[str] | None = ()) -> None:
        """All needed columns are there, once, and nothing but them and the optional ones; None: anything else may be.

        Raises:
            UserError: The first column that is missing, unknown or there twice.
        """
        found: Sequence[str] = self.columns.column_names
        for name in found:
            if optional is not None and name not in needed and name not in optional:
                known = (*needed, *optional)
                raise UserError(f"unknown column '{name}'; {choose(name, known)}", file=self.path, key=name)
            if found.count(name) > 1 and (name in needed or optional is not None):
                raise UserError("there are two columns of this name", file=self.path, key=name)
        for name in needed:
            if name not in found:
                fault = f"this column is missing; the file must have {', '.join(needed)}"
                raise UserError(fault, file=self.path, key=name)

    def numbers(self, name: str, low: float, high: float, whole: bool = False) -> npt.NDArray[np.float64]:
        """A column of numbers within these bounds, [rows].

        Raises:
            UserError: The first row whose value is missing, no number, out of bounds, or not whole where it must be.
        """
        column = self.columns.column(name)
        kind = column.type
        self._check_present(column, name)
        if pa.types.is_string(kind):
            if (row := first(pc.invert(pc.match_substring_regex(column, _NUMBER)))) is not None:
                raise self.bad_row(row, f"is '{column[row]}', which is not a number", name)
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise UserError(f"the column holds {kind}, it must hold numbers", file=self.path, key=name)
        values: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
        good = (low <= values) & (values <= high)
        if whole:
            good &= values == np.floor(values)
        if (row := first(~good)) is not None:
            what = "whole number" if whole else "number"
            raise self.bad_row(row, f"is {values[row]:g}, it must be a {what} from {low:g} to {high:g}", name)
        return values

    def classes(self, name: str) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
        """A column of class names: an index a row, [rows], and the names in the order in which they come.

        Raises:
            UserError: The column holds no text, a value is missing, or there are too many different ones.
        """
        column = self.columns.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UserError(f"the column holds {column.type}, it must hold text", file=self.path, key=name)
        codes, names = self.keys(name)
        if len(names) > MOST_CLASSES:
            raise UserError(
                f"{len(names)} different values, at most {MOST_CLASSES} are possible: it names the class, not the "
                "device",
                file=self.path,
                key=name,
            )
        return codes.astype(np.int16), names

    def keys(self, name: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
        """A column that names what a row belongs to: an index a row, [rows], and the names in the order of the rows.

        Raises:
            UserError: A value is missing.
        """
        column = self.columns.column(name).cast(pa.string())
        self._check_present(column, name)
        names = column.unique()
        codes: npt.NDArray[np.int64] = pc.index_in(column, value_set=names).to_numpy().astype(np.int64)
        return codes, tuple(names.to_pylist())

    def _check_present(self, column: Any, name: str) -> None:
        missing = pc.is_null(column)
        if pa.types.is_string(column.type):
            missing = pc.or_kleene(missing, pc.equal(column, ""))
        if (row := first(missing)) is not None:
            raise self.bad_row(row, "has no value", name)

    def bad_row(self, row: int, problem: str, name: str | None = None) -> UserError:
        """What to tell of a row (0 is the first below the header)."""
        return _bad_row(self.path, row, problem, name)


def read(path: Path, key: str) -> Table:
    """Read a .csv (UTF-8, with a header) or .parquet file.

    Args:
        path: The file.
        key: The scenario's key that names it.

    Raises:
        UserError: It cannot be read, is too large, or is no such table.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"unknown ending '{path.suffix}'; {choose(path.suffix, readers)}", file=path)
    return Table(path, reader(content(path, key), path))


def content(path: Path, key: str) -> bytes:
    """A file's bytes.

    Args:
        path: The file.
        key: The scenario's key that names it.

    Raises:
        UserError: It cannot be read, or is larger than `MOST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"the file cannot be read: {error.strerror}", file=path, key=key) from None
    if len(data) > MOST_BYTES:
        fault = f"has more than {MOST_BYTES / 1e6:,.0f} MB, the most that is read: keep the part that is needed"
        raise UserError(fault, file=path, key=key)
    return data


def first(mask: Any) -> int | None:
    """The first row that is true in this Arrow or NumPy column."""
    rows = np.flatnonzero(np.asarray(mask))
    return int(rows[0]) if len(rows) else None


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
            raise _bad_row(path, uneven[0].number - 2, problem) from None
        raise UserError(f"is not a CSV table: {error}", file=path) from None
    texts = [pc.utf8_trim_whitespace(column.cast(pa.string())) for column in cells.columns]
    return pa.table([column.slice(1) for column in texts], names=[column[0].as_py() for column in texts])


def _read_parquet(data: bytes, path: Path) -> Any:
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"is not a whole Parquet file: {error}", file=path) from None


def _bad_row(path: Path, row: int, problem: str, name: str | None = None) -> UserError:
    line = _line(path, row) if path.suffix.lower() == ".csv" else None
    return UserError(f"row {row + 1} {problem}", file=path, line=line, key=name)


def _line(path: Path, row: int) -> int:
    """The line that ends this row (0 is the first below the header); blank lines are no rows."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        rows = (reader.line_num for cells in reader if cells)
        return next(islice(rows, row + 1, None))
