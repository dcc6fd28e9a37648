"""Reads a finished run: its trace as pandas frames, its scenario and its summary."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fedsim.errors import UserError, choose, not_a_run
from fedsim.trace.digest import HASHED, START, chain_rounds
from fedsim.trace.manifest import Flush, Manifest, Part, trace_folder
from fedsim.trace.schema import TABLES, Table

if TYPE_CHECKING:
    import pandas as pd

SCENARIO, SUMMARY = "scenario.json", "run.json"

Condition = tuple[str, str, Any]
Filters = Sequence[Condition] | Sequence[Sequence[Condition]]


@dataclass(frozen=True)
class Run:
    """A finished run. The frames hold all methods, in the scenario's order; docs/trace.md lists their columns.

    A frame is read when it is first asked for, whole; `read` gives a part of a table that is too large for that.
    Integers stay int64, a missing loss is NaN, and the text columns of `trips` are categories.
    """

    path: Path
    scenario: dict[str, Any]
    """The scenario with all its defaults filled in."""
    summary: dict[str, Any]
    """Totals, hashes and versions (run.json)."""
    traces: Mapping[str, Manifest] = field(default_factory=dict, repr=False)
    """Which files make up each method's trace."""

    @cached_property
    def trips(self) -> "pd.DataFrame":
        """One row for each client of each cohort."""
        return self.read("trips")

    @cached_property
    def rounds(self) -> "pd.DataFrame":
        """One row a round."""
        return self.read("rounds")

    @cached_property
    def evals(self) -> "pd.DataFrame":
        """One row for each metric of each evaluation."""
        return self.read("evals")

    @cached_property
    def stages(self) -> "pd.DataFrame":
        """One row for each plan of each stage."""
        return self.read("stages")

    @cached_property
    def lessons(self) -> "pd.DataFrame":
        """One row for each training on the server."""
        return self.read("lessons")

    @cached_property
    def events(self) -> "pd.DataFrame":
        """What a real clock measured."""
        return self.read("events")

    def read(self, table: str, columns: Sequence[str] | None = None, filters: Filters | None = None) -> "pd.DataFrame":
        """Rows of a table, of all methods; of ten million trips a few columns fit where all of them do not.

        Args:
            table: its name.
            columns: those wanted, in this order; None: all of them.
            filters: as `pandas.read_parquet` takes them: ``[("method", "==", "fedbt"), ("round", "<", 100)]`` are
                conditions that all hold, a list of such lists is one of which any holds.

        Raises:
            UserError: no such table or column, a filter that makes no sense, or a file that was damaged meanwhile.
        """
        whole = pa.concat_tables(list(self.scan(table, columns, filters))).unify_dictionaries()
        frame: pd.DataFrame = whole.to_pandas(self_destruct=True, split_blocks=True)
        return frame

    def scan(
        self, table: str, columns: Sequence[str] | None = None, filters: Filters | None = None
    ) -> Iterator[pa.Table]:
        """The same as Arrow tables, one file of the trace at a time and at least one, for what does not fit in memory.

        Raises:
            UserError: as `read` does.
        """
        wanted = _selected(table, columns, filters)
        yield wanted.schema.empty_table()
        for method, manifest in self.traces.items():
            yield from wanted.parts(trace_folder(self.path, method), manifest)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that were run, in the scenario's order."""
        return tuple(name for name in self.scenario["methods"] if name in self.summary["methods"])

    def trace_sha256(self, method: str) -> str:
        """The hash of a method's trace, computed anew from the values in its Parquet files.

        Raises:
            UserError: No such method, a damaged file, or rows of rounds that the trace does not have.
        """
        if method not in self.methods:
            raise UserError(f"no method '{method}': {choose(method, self.methods)}", file=self.path)
        folder, digest = trace_folder(self.path, method), START
        for flush in self.traces[method].flushes:
            if flush.rounds is not None:
                digest = _chained(digest, folder, flush)
        return digest


def read_run(path: str | Path) -> Run:
    """Read a finished run from its folder.

    Raises:
        UserError: Not a run's folder, a run that has not ended, a file that is missing or damaged (named), or a
            trace that a newer fedsim wrote.
    """
    folder = Path(path)
    if not (folder / SCENARIO).is_file():
        raise not_a_run(folder, SCENARIO)
    scenario = _json(folder / SCENARIO)
    if not (folder / SUMMARY).is_file():
        raise UserError(f"this run has not ended (no {SUMMARY} yet): wait for it, or go on with --resume", file=folder)
    summary = _json(folder / SUMMARY)
    if not isinstance(summary.get("methods"), dict):
        raise UserError("damaged: it lists no methods", file=folder / SUMMARY)
    traces = {}
    for method in (method for method in scenario["methods"] if method in summary["methods"]):
        source = trace_folder(folder, method)
        traces[method] = Manifest.load(source)
        for part in traces[method].parts():
            _check(TABLES[part.table], part, part.check(source))
    return Run(folder, scenario, summary, traces)


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"damaged: {error}", file=path) from error
    return content


def _check(table: Table, part: Part, file: Path) -> None:
    """A part has the columns and rows that it must have."""
    found = pq.read_metadata(file)
    if found.schema.to_arrow_schema().names != table.schema.names or found.num_rows != part.rows:
        raise UserError("it does not have the columns or the number of rows it must have", file=file)


@dataclass(frozen=True)
class _Selection:
    """Some columns and rows of a table."""

    schema: pa.Schema
    table: str
    where: pc.Expression | None = None

    def parts(self, folder: Path, source: Manifest | Flush) -> Iterator[pa.Table]:
        """Those of one method, or of one flush, file by file in the order written."""
        text = [field.name for field in self.schema if pa.types.is_dictionary(field.type)]
        for part in source.parts_of(self.table):
            try:
                rows = pq.read_table(
                    folder / part.file,
                    columns=self.schema.names,
                    filters=self.where,
                    read_dictionary=text,
                    partitioning=None,
                )
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"cannot be read: {error}", file=folder / part.file) from error
            yield rows.cast(self.schema)

    def read(self, folder: Path, source: Flush) -> pa.Table:
        """The same as one table."""
        return pa.concat_tables([self.schema.empty_table(), *self.parts(folder, source)])


def _selected(name: str, columns: Sequence[str] | None, filters: Filters | None) -> _Selection:
    """The selection that a user asks for.

    Raises:
        UserError: there is no such table or column, or the filter does not fit.
    """
    if name not in TABLES:
        raise UserError(f"no trace table '{name}': {choose(name, TABLES)}")
    schema, names = TABLES[name].schema, TABLES[name].schema.names
    for column in columns or ():
        if column not in names:
            raise UserError(f"trace table {name} has no column '{column}': {choose(column, names)}")
    where = None
    if filters is not None:
        try:
            where = pq.filters_to_expression(filters)
            schema.empty_table().filter(where)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UserError(f"filters of trace table {name} do not fit: {error}") from error
    # Only trips are many: in them, seven columns of text would take as much memory as all the numbers.
    kind = pa.dictionary(pa.int32(), pa.string()) if name == "trips" else pa.string()
    fields = [schema.field(column) for column in (names if columns is None else columns)]
    return _Selection(
        pa.schema([item.with_type(kind) if pa.types.is_string(item.type) else item for item in fields]), name, where
    )


def _chained(digest: str, folder: Path, flush: Flush) -> str:
    """The hash after the rounds of one flush.

    Raises:
        UserError: a file has rows of rounds that it cannot have.
    """
    assert flush.rounds is not None
    rows = {table.name: _Selection(table.schema, table.name).read(folder, flush) for table in HASHED}
    try:
        return chain_rounds(digest, *flush.rounds, rows)
    except ValueError as error:
        raise UserError(str(error), file=folder) from error
