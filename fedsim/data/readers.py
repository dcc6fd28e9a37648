"""Files of samples, one reader a format. Every mistake in a file is told with its line (or row)."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from fedsim.data.columns import Chunk, Column, Origin, from_arrow, from_values, missing
from fedsim.errors import UserError

ROWS = 1000
"""Rows a chunk: large enough for Arrow to be quick, small enough that a chunk of long texts stays below 2 GB."""

ONE_A_LINE = "JSON Lines has one object a line"


class Reader(Protocol):
    """A file with named columns."""

    def columns(self) -> Mapping[str, bool]:
        """The columns it has, and whether each holds lists."""

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """Its rows, in order; raises UserError at the first that cannot be used."""


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, line ends kept, without a byte order mark."""
    start = 0
    with file.open("rb") as handle:
        for number, raw in enumerate(handle, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                # "utf-8-sig" counts from behind the mark that it took off
                at = start + error.start + (len(raw) - len(error.object))
                fault = f"byte {at} (0x{error.object[error.start]:02x}) is not UTF-8: save the file as UTF-8"
                raise UserError(fault, file=file, line=number) from None
            start += len(raw)
            yield number, text


class JsonLines:
    """One JSON object a line; blank lines are skipped."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> Mapping[str, bool]:
        """The keys of the first object."""
        _, first = next(self._objects(), (0, {}))
        return {name: isinstance(value, list) for name, value in first.items()}

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """A thousand objects at a time."""
        objects = self._objects()
        while batch := list(islice(objects, ROWS)):
            for number, row in batch:
                for column in columns:
                    if column.source not in row:
                        raise missing(column, row, self.file, number)
            origin = Origin(self.file, lines=[number for number, _ in batch])
            yield Chunk(
                {c.target: from_values([row[c.source] for _, row in batch], c, origin) for c in columns}, origin
            )

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in lines(self.file):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                fault = f"not valid JSON ({error.msg}, character {error.pos + 1}); {ONE_A_LINE}"
                raise UserError(fault, file=self.file, line=number) from None
            except (ValueError, RecursionError):
                fault = f"JSON nested too deeply, or a number too long; {ONE_A_LINE}"
                raise UserError(fault, file=self.file, line=number) from None
            if not isinstance(row, dict):
                fault = f"this line is a {type(row).__name__}; {ONE_A_LINE}"
                raise UserError(fault, file=self.file, line=number)
            yield number, row


class Csv:
    """Comma-separated values with a header line; quoted fields may span lines."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> Mapping[str, bool]:
        """The names in the header."""
        _, header = next(self._rows(), (0, []))
        return dict.fromkeys(header, False)

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """A thousand rows at a time."""
        rows = self._rows()
        _, header = next(rows)
        places = {column: header.index(column.source) for column in columns}
        while batch := list(islice(rows, ROWS)):
            origin = Origin(self.file, lines=[number for number, _ in batch])
            fields = {column: [row[place] for _, row in batch] for column, place in places.items()}
            yield Chunk({c.target: from_values(values, c, origin) for c, values in fields.items()}, origin)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader((line for _, line in lines(self.file)), strict=True)
        width = start = 0
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                fault = f"{error}: is a quote missing, or not doubled inside a quoted field?"
                if "field limit" in str(error):
                    fault += " Texts this long belong in JSON Lines or Parquet"
                raise UserError(fault, file=self.file, line=start) from None
            if row is None:
                return
            if not row:
                continue  # a blank line
            if width == 0:
                width = len(row)
                if len(set(row)) < width:
                    twice = next(name for name in row if row.count(name) > 1)
                    raise UserError(f"the header names '{twice}' twice", file=self.file, line=start)
            elif len(row) != width:
                fault = f"fields: {len(row)}, names in the header: {width}; quote fields that contain commas"
                raise UserError(fault, file=self.file, line=start)
            yield start, row


class Parquet:
    """A Parquet file, read a thousand rows at a time."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> Mapping[str, bool]:
        """The top-level columns of the schema."""
        with self._open() as table:
            schema = table.schema_arrow
        return {field.name: pa.types.is_nested(field.type) for field in schema}

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """The wanted columns alone are read."""
        first = 0
        with self._open() as table:
            batches = table.iter_batches(ROWS, columns=[column.source for column in columns])
            while (batch := self._next(batches)) is not None:
                origin = Origin(self.file, first)
                yield Chunk({c.target: from_arrow(batch.column(c.source), c, origin) for c in columns}, origin)
                first += len(batch)

    def _open(self) -> Any:
        try:
            return pq.ParquetFile(self.file, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> UserError:
        return UserError(f"not a whole Parquet file ({' '.join(str(error).split())[:200]})", file=self.file)


class Text:
    """One sample a line; blank lines are skipped."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> Mapping[str, bool]:
        """Plain text has no columns."""
        return {}

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """A thousand lines at a time."""
        samples = ((number, line.rstrip("\r\n")) for number, line in lines(self.file) if line.strip())
        while batch := list(islice(samples, ROWS)):
            yield Chunk({"text": pa.array([line for _, line in batch])}, Origin(self.file, lines=[n for n, _ in batch]))
