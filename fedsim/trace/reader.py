"""Reads a finished run: its trace as pandas frames, its scenario and its summary."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fedsim.errors import UserError, choose
from fedsim.trace.digest import HASHED, START, chain
from fedsim.trace.manifest import Manifest, trace_folder
from fedsim.trace.schema import TABLES, Table

if TYPE_CHECKING:
    import pandas as pd

SCENARIO, SUMMARY = "scenario.json", "run.json"


@dataclass(frozen=True)
class Run:
    """A finished run. The frames hold all methods, in the scenario's order; docs/trace.md lists their columns.

    Integers stay int64, a missing loss is NaN, and the text columns of `trips` are categories.
    """

    path: Path
    scenario: dict[str, Any]
    """The scenario with all its defaults filled in."""
    summary: dict[str, Any]
    """Totals, hashes and versions (run.json)."""
    trips: "pd.DataFrame"
    rounds: "pd.DataFrame"
    evals: "pd.DataFrame"
    stages: "pd.DataFrame"
    lessons: "pd.DataFrame"
    events: "pd.DataFrame"

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
        folder = trace_folder(self.path, method)
        manifest = Manifest.load(folder)
        rounds = manifest.rounds
        content, cuts = {}, {}
        for table in HASHED:
            rows = content[table.name] = _read(table, folder, manifest).combine_chunks()
            of_round = rows.column(table.round).to_numpy()
            cuts[table.name] = np.searchsorted(of_round, np.arange(rounds.start, rounds.stop + 1))
            if np.any(np.diff(of_round) < 0) or (len(of_round) and not {of_round[0], of_round[-1]} <= set(rounds)):
                raise UserError(f"{table.name} has rows out of order or of rounds it cannot have", file=folder)
        digest = START
        for index, round_ in enumerate(rounds):
            spans = ((name, cut[index], cut[index + 1]) for name, cut in cuts.items())
            digest = chain(digest, round_, {name: content[name].slice(at, end - at) for name, at, end in spans})
        return digest


def read_run(path: str | Path) -> Run:
    """Read a finished run from its folder.

    Raises:
        UserError: Not a run's folder, a run that has not ended, a file that is missing or damaged (named), or a
            trace that a newer fedsim wrote.
    """
    folder = Path(path)
    if not (folder / SCENARIO).is_file():
        raise UserError(f"not the folder of a run: it has no {SCENARIO}", file=folder)
    scenario = _json(folder / SCENARIO)
    if not (folder / SUMMARY).is_file():
        raise UserError(f"this run has not ended (no {SUMMARY} yet): wait for it, or go on with --resume", file=folder)
    summary = _json(folder / SUMMARY)
    if not isinstance(summary.get("methods"), dict):
        raise UserError("damaged: it lists no methods", file=folder / SUMMARY)
    run = [method for method in scenario["methods"] if method in summary["methods"]]
    sources = [trace_folder(folder, method) for method in run]
    traces = [(source, Manifest.load(source)) for source in sources]
    frames = {table.name: _frame(table, traces) for table in TABLES.values()}
    return Run(folder, scenario, summary, **frames)


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"damaged: {error}", file=path) from error
    return content


def _read(table: Table, folder: Path, manifest: Manifest, categories: bool = False) -> pa.Table:
    """All rows of a table of one method, in the order written."""
    schema = _categorical(table) if categories else table.schema
    parts = []
    for part in manifest.parts(table.name):
        file = part.check(folder)
        rows = pq.ParquetFile(file, read_dictionary=table.strings if categories else None).read()
        if rows.column_names != schema.names or rows.num_rows != part.rows:
            raise UserError("it does not have the columns or the number of rows it must have", file=file)
        parts.append(rows.cast(schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _categorical(table: Table) -> pa.Schema:
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([field.with_type(kind) if field.name in table.strings else field for field in table.schema])


def _frame(table: Table, traces: list[tuple[Path, Manifest]]) -> "pd.DataFrame":
    # Only trips are many: in them, seven columns of text would take as much memory as all the numbers.
    categories = table.name == "trips"
    rows = pa.concat_tables([_read(table, folder, manifest, categories) for folder, manifest in traces])
    frame: pd.DataFrame = rows.unify_dictionaries().to_pandas(self_destruct=True, split_blocks=True)
    return frame
