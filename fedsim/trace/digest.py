"""One hash over a trace, chained round by round.

It depends on the values alone, not on how rows are cut into files and chunks or how they are encoded, so a run
that was stopped and resumed has the hash of one that was not.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fedsim.trace.schema import SCHEMA_VERSION, TABLES, Column

HASHED = tuple(table for table in TABLES.values() if table.hashed)
START = hashlib.sha256(f"fedsim trace {SCHEMA_VERSION}".encode()).hexdigest()
"""The hash of a trace without rounds."""

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class _Canonical:
    """A column's values as they are hashed, whatever its chunks and encodings, of many rounds at once."""

    head: bytes
    values: Values
    """Little-endian numbers; of text, how many bytes each entry has."""
    valid: Values | None
    """Which entries are not null, where any may be."""
    ends: Values | None
    """Of text: where each entry starts in `text`, and where the last one ends."""
    text: memoryview

    @classmethod
    def of(cls, column: Column, array: pa.Array) -> Self:
        """From Arrow's own memory: rows begin at `array.offset` there."""
        head, buffers, size = f"{column.name} {column.type}\n".encode(), array.buffers(), len(array)
        valid = _bits(buffers[0], array) if column.nullable else None
        if column.type == "string":
            ends = np.frombuffer(buffers[1], np.int32, size + 1, 4 * array.offset)
            return cls(head, np.diff(ends).astype("<i8"), valid, ends, memoryview(buffers[2] or b""))
        if column.type == "bool":
            return cls(head, _bits(buffers[1], array).astype("u1"), valid, None, memoryview(b""))
        values = np.frombuffer(buffers[1], "<f8" if column.type == "float64" else "<i8", size, 8 * array.offset)
        if valid is not None:
            values = np.where(valid, values, values.dtype.type(0))
        if column.type == "float64":
            # Processors differ in the sign and payload of the NaN they make; it is the same result.
            values = np.where(np.isnan(values), np.nan, values)
        return cls(head, values, valid, None, memoryview(b""))

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview | Values]:
        """The bytes of some of its rows."""
        yield self.head
        if self.valid is not None:
            yield np.packbits(self.valid[start:stop])
        yield self.values[start:stop]
        if self.ends is not None:
            yield self.text[self.ends[start] : self.ends[stop]]


def _bits(buffer: pa.Buffer | None, array: pa.Array) -> Values:
    """Flags that Arrow keeps as bits; no buffer: all are set."""
    if buffer is None:
        return np.ones(len(array), np.bool_)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(np.bool_)


def chain(previous: str, round_: int, rows: Mapping[str, pa.Table]) -> str:
    """The hash after one more round.

    Args:
        previous: The hash before it, hexadecimal; `START` for the first round.
        round_: Its number.
        rows: Its rows by table, of the tables' schemas, in the order added; a table may be missing when it has none.
    """
    return _chain(previous, round_, _columns(rows), {name: (0, table.num_rows) for name, table in rows.items()})


def chain_rounds(previous: str, first: int, last: int, rows: Mapping[str, pa.Table]) -> str:
    """The hash after some more rounds.

    Args:
        previous: The hash before them.
        first: Their first number.
        last: Their last number.
        rows: As for `chain`, of all of them.

    Raises:
        ValueError: A table has rows out of order or of other rounds; says which.
    """
    columns, cuts = _columns(rows), {}
    for table in HASHED:
        if table.name in columns:
            of_round = columns[table.name][table.schema.names.index(table.round)].values
            cuts[table.name] = np.searchsorted(of_round, np.arange(first, last + 2)).tolist()
            if np.any(np.diff(of_round) < 0) or not first <= of_round[0] <= of_round[-1] <= last:
                raise ValueError(f"{table.name} has rows out of order or of rounds it cannot have")
    for index, round_ in enumerate(range(first, last + 1)):
        previous = _chain(previous, round_, columns, {name: (cut[index], cut[index + 1]) for name, cut in cuts.items()})
    return previous


def _columns(rows: Mapping[str, pa.Table]) -> dict[str, list[_Canonical]]:
    """Everything that is hashed of these tables, where they have rows."""
    found = {}
    for table in HASHED:
        if table.name in rows and rows[table.name].num_rows:
            arrays = [chunks.combine_chunks() for chunks in rows[table.name].columns]
            found[table.name] = [_Canonical.of(*of) for of in zip(table.columns, arrays, strict=True)]
    return found


def _chain(
    previous: str, round_: int, columns: Mapping[str, list[_Canonical]], spans: Mapping[str, tuple[int, int]]
) -> str:
    """The hash after a round whose rows are these spans of the columns."""
    pieces: list[Any] = [bytes.fromhex(previous), round_.to_bytes(8, "little", signed=True)]
    for table in HASHED:
        start, stop = spans.get(table.name, (0, 0))
        pieces.append(f"{table.name} {stop - start}\n".encode())
        if stop > start:
            for column in columns[table.name]:
                pieces += column.pieces(start, stop)
    # at once: a round is many short pieces
    return hashlib.sha256(b"".join(pieces)).hexdigest()
