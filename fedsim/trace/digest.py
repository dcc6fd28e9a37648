"""One hash over a trace, chained round by round.

It depends on the values alone, not on how rows are cut into files and chunks or how they are encoded, so a run
that was stopped and resumed has the hash of one that was not.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedsim.trace.schema import SCHEMA_VERSION, TABLES

HASHED = tuple(table for table in TABLES.values() if table.hashed)
START = hashlib.sha256(f"fedsim trace {SCHEMA_VERSION}".encode()).hexdigest()
"""The hash of a trace without rounds."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def chain(previous: str, round_: int, rows: Mapping[str, pa.Table]) -> str:
    """The hash after one more round.

    Args:
        previous: The hash before it, hexadecimal; `START` for the first round.
        round_: Its number.
        rows: Its rows by table, of the tables' schemas, in the order added; a table may be missing when it has none.
    """
    digest = hashlib.sha256(bytes.fromhex(previous))
    digest.update(round_.to_bytes(8, "little", signed=True))
    for table in HASHED:
        content = rows.get(table.name)
        count = 0 if content is None else content.num_rows
        digest.update(f"{table.name} {count}\n".encode())
        if content is not None and count:
            for column in table.columns:
                digest.update(f"{column.name} {column.type}\n".encode())
                _add(digest, content.column(column.name).combine_chunks(), column.nullable)
    return digest.hexdigest()


def _add(digest: _Hash, array: pa.Array, nullable: bool) -> None:
    if nullable:
        digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_string(array.type):
        text = pc.fill_null(array, "").to_pylist()
        words = [word.encode() for word in text]
        digest.update(np.array([len(word) for word in words], "<i8").tobytes())
        digest.update(b"".join(words))
    elif pa.types.is_floating(array.type):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
        # Processors differ in the sign and payload of the NaN they make; it is the same result.
        digest.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
    elif pa.types.is_boolean(array.type):
        digest.update(pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype("u1").tobytes())
    else:
        digest.update(pc.fill_null(array, 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
