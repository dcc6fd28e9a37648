"""One hash over a trace, chained round by round.

It depends on the values alone, not on how rows are cut into files and chunks or how they are encoded, so a run
that was stopped and resumed has the hash of one that was not.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedsim.trace.schema import SCHEMA_VERSION, TABLES

HASHED = tuple(table for table in TABLES.values() if table.hashed)
START = hashlib.sha256(f"fedsim trace {SCHEMA_VERSION}".encode()).hexdigest()
"""The hash of a trace without rounds."""

Bytes = bytes | memoryview | np.typing.NDArray[Any]

_HEADS = {table.name: [f"{column.name} {column.type}\n".encode() for column in table.columns] for table in HASHED}
"""What comes before a column's values."""


def chain(previous: str, round_: int, rows: Mapping[str, pa.Table]) -> str:
    """The hash after one more round.

    Args:
        previous: The hash before it, hexadecimal; `START` for the first round.
        round_: Its number.
        rows: Its rows by table, of the tables' schemas, in the order added; a table may be missing when it has none.
    """
    pieces: list[Any] = [bytes.fromhex(previous), round_.to_bytes(8, "little", signed=True)]
    for table in HASHED:
        content = rows.get(table.name)
        count = 0 if content is None else content.num_rows
        pieces.append(f"{table.name} {count}\n".encode())
        if content is not None and count:
            for column, head, chunks in zip(table.columns, _HEADS[table.name], content.columns, strict=True):
                pieces.append(head)
                array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
                pieces += _canonical(array, column.nullable)
    # at once: a round is many short pieces
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def _canonical(array: pa.Array, nullable: bool) -> Iterator[Bytes]:
    """A column's values, whatever its chunks and encodings."""
    if nullable:
        yield np.packbits(array.is_valid().to_numpy(zero_copy_only=False))
    text = pa.types.is_string(array.type)
    if array.null_count:
        array = pc.fill_null(array, "" if text else pa.scalar(0).cast(array.type))
    if text:
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32, len(array) + 1, 4 * array.offset)
        yield np.diff(ends).astype("<i8")
        yield memoryview(data)[ends[0] : ends[-1]] if data else b""
        return
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        # Processors differ in the sign and payload of the NaN they make; it is the same result.
        lost = np.isnan(values)
        yield np.ascontiguousarray(np.where(lost, np.nan, values) if lost.any() else values, "<f8")
    else:
        yield np.ascontiguousarray(values, "u1" if values.dtype.kind == "b" else "<i8")
