"""The tables of a run as CSV, or as JSON with one object a line; file by file, so that ten million trips fit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter

from fedsim.export.cut import Cut
from fedsim.store import atomic
from fedsim.trace.reader import Run
from fedsim.trace.schema import TABLES

METHODS = "methods"
"""The table that is made of the summary: one row a method."""


def csv(run: Run, cut: Cut, folder: Path) -> list[Path]:
    """Write `TABLE.csv` for each table; a null is an empty cell. Returns the files."""
    files = []
    for name, parts in _tables(run, cut):
        first = next(parts)
        with (
            atomic.replacing(file := folder / f"{name}.csv") as temporary,
            CSVWriter(temporary, first.schema) as writer,
        ):
            for part in (first, *parts):
                writer.write_table(part)
        files.append(file)
    return files


def flat_json(run: Run, cut: Cut, folder: Path) -> list[Path]:
    """Write `TABLE.jsonl` for each table: one flat object a line, null where there is no number. Returns the files."""
    files = []
    for name, parts in _tables(run, cut):
        with atomic.replacing(file := folder / f"{name}.jsonl") as temporary, temporary.open("w") as lines:
            for part in parts:
                lines.writelines(json.dumps(row, allow_nan=False) + "\n" for row in part.to_pylist())
        files.append(file)
    return files


def _tables(run: Run, cut: Cut) -> Iterator[tuple[str, Iterator[pa.Table]]]:
    """Every table by name, in parts; the first of them may be empty."""
    yield METHODS, iter([pa.Table.from_pylist(_methods(run, cut))])
    for name, table in TABLES.items():
        yield name, (_plain(part.cast(table.schema)) for part in run.scan(name, filters=cut.filters(name)))


def _methods(run: Run, cut: Cut) -> list[dict[str, Any]]:
    """The summary of each method, flat: metrics are called `quality/PHASE/METRIC`."""
    rows = []
    for name in cut.methods:
        own = dict(run.summary["methods"][name])
        quality = own.pop("quality", {})
        rows.append({"method": name, **{f"quality/{key}": value for key, value in quality.items()}, **own})
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _plain(part: pa.Table) -> pa.Table:
    """Numbers that are not finite as nulls: neither format has a word for them that every reader knows."""
    for index, field in enumerate(part.schema):
        if pa.types.is_floating(field.type):
            values = part.column(index)
            part = part.set_column(index, field, pc.if_else(pc.is_finite(values), values, pa.scalar(None, field.type)))
    return part
