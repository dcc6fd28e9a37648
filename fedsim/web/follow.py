"""A run's folder while it grows: its state, and its trace as far as it is written.

What a manifest lists is whole and never changes, so every part is read once. A run that is gone on with after a kill
may drop the last parts: then its manifest lists others, and nothing of the old ones is used.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from fedsim import run_folder
from fedsim.errors import UserError, not_a_run
from fedsim.scenario.schema import Scenario
from fedsim.store.lock import held
from fedsim.trace.manifest import NAME, Manifest, Part, trace_folder
from fedsim.trace.schema import TABLES

State = Literal["running", "stopped", "ended"]


@dataclass(frozen=True)
class PlannedPhase:
    """A phase of one method, as its scenario plans it."""

    name: str
    first_round: int
    rounds: int


class Followed:
    """A run's folder.

    Args:
        folder: of a run that has begun.
        proven: every file is read and compared with its sha256 before it is used.

    Raises:
        UserError: not a run's folder, a damaged one, or one that another version of fedsim wrote.
    """

    def __init__(self, folder: Path, *, proven: bool = False) -> None:
        if not run_folder.is_run(folder):
            raise not_a_run(folder, run_folder.IDENTITY)
        self.folder, self._proven = folder, proven
        self.identity = run_folder.read_json(folder / run_folder.IDENTITY)
        raw = run_folder.read_json(folder / run_folder.SCENARIO)
        try:
            self.scenario = Scenario.model_validate(raw)
            self.base = Path(self.identity["base"])
            wanted = tuple(self.identity["methods"])
            self.price = bool(self.identity["price"])
        except ValidationError as error:
            fault = (
                f"is not a scenario of this fedsim ({error.error_count()} mistakes): read it with the one that made it"
            )
            raise UserError(fault, file=folder / run_folder.SCENARIO) from error
        except (LookupError, TypeError) as error:
            raise UserError(f"damaged ({error!r})", file=folder / run_folder.IDENTITY) from error
        self.methods = tuple(name for name in self.scenario.methods if not wanted or name in wanted)
        self._manifests: dict[str, tuple[tuple[int, int], Manifest]] = {}
        self._parts: dict[tuple[str, Part], pa.Table] = {}
        self._tables: dict[tuple[str, str], tuple[tuple[Part, ...], pa.Table]] = {}
        for method in self.methods:
            self.manifest(method)

    @cached_property
    def planned(self) -> dict[str, tuple[PlannedPhase, ...]]:
        """The phases of every method."""
        found = {}
        for name in self.methods:
            phases, first = list[PlannedPhase](), 0
            for phase in self.scenario.methods[name].schedule(self.scenario.phases).federated:
                phases.append(PlannedPhase(phase.name, first, phase.config.rounds))
                first += phase.config.rounds
            found[name] = tuple(phases)
        return found

    @property
    def ended(self) -> tuple[str, ...]:
        """The methods that have ended.

        Raises:
            UserError: the summary is damaged.
        """
        if not (self.folder / run_folder.SUMMARY).is_file():
            return ()
        known = run_folder.summary(self.folder)["methods"]
        return tuple(name for name in self.methods if name in known)

    @property
    def state(self) -> State:
        """Whether rounds are still to come, and whether anybody is at it."""
        if held(self.folder):
            return "running"
        return "ended" if len(self.ended) == len(self.methods) else "stopped"

    @property
    def started(self) -> bool:
        """There is a round to look at, or an evaluation before the first."""
        return any(self.manifest(method).rounds for method in self.methods)

    def version(self) -> str:
        """Another word whenever there is something new; a few looks at the disk."""
        stamps = [_stamp(trace_folder(self.folder, method) / NAME) for method in self.methods]
        stamps.append(_stamp(self.folder / run_folder.SUMMARY))
        return hashlib.sha256(repr((stamps, held(self.folder))).encode()).hexdigest()[:16]

    def manifest(self, method: str) -> Manifest:
        """Which files make up a method's trace by now; without any where it has not begun.

        Raises:
            UserError: damaged, or written by a newer fedsim.
        """
        folder = trace_folder(self.folder, method)
        stamp = _stamp(folder / NAME)
        if stamp is None:
            return Manifest(method)
        before = self._manifests.get(method)
        if before is None or before[0] != stamp:
            before = self._manifests[method] = stamp, Manifest.load(folder)
        return before[1]

    def table(self, method: str, name: str) -> pa.Table:
        """All rows of a method in a table that has few of them: any but `trips`.

        Raises:
            UserError: a file cannot be read.
        """
        parts = tuple(self.manifest(method).parts_of(name))
        before = self._tables.get((method, name))
        if before is None or before[0] != parts:
            known = {part: self._parts.get((method, part)) for part in parts}
            read = {part: self.read(method, part) if rows is None else rows for part, rows in known.items()}
            self._parts |= {(method, part): rows for part, rows in read.items()}
            whole = pa.concat_tables([TABLES[name].schema.empty_table(), *read.values()]).combine_chunks()
            before = self._tables[method, name] = parts, whole
        return before[1]

    def trips(self, method: str, round_: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of the trips that ended in a round.

        Raises:
            UserError: a file cannot be read.
        """
        found = [TABLES["trips"].schema.empty_table().select(list(columns))]
        for flush in self.manifest(method).flushes:
            if flush.rounds is not None and flush.rounds[0] <= round_ <= flush.rounds[1]:
                found += [self.read(method, part, columns, round_) for part in flush.parts_of("trips")]
        return pa.concat_tables(found)

    def read(
        self, method: str, part: Part, columns: Sequence[str] | None = None, round_: int | None = None
    ) -> pa.Table:
        """Rows of one file, or those of one round in it.

        Raises:
            UserError: it cannot be read.
        """
        folder = trace_folder(self.folder, method)
        file = part.check(folder) if self._proven else folder / part.file
        schema = TABLES[part.table].schema
        names = schema.names if columns is None else list(columns)
        wanted = names if round_ is None else list({*names, "round"})
        try:
            # a run that trains writes a file a round: of small ones this takes two thirds of the time of `read_table`
            rows = pq.ParquetFile(file).read(wanted)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"cannot be read: {error}", file=file) from error
        if not set(wanted) <= set(rows.column_names):
            raise UserError("it does not have the columns it must have: another fedsim wrote it", file=file)
        rows = rows if round_ is None else rows.filter(pc.equal(rows["round"], round_))
        return rows.select(names).cast(pa.schema([schema.field(name) for name in names]))

    def summaries(self) -> dict[str, dict[str, Any]]:
        """What every method that has begun has cost and reached by now, as a run's summary says it."""
        return {name: self._summary(name) for name in self.methods if self.manifest(name).rounds}

    def _summary(self, method: str) -> dict[str, Any]:
        rounds, lessons = self.table(method, "rounds"), self.table(method, "lessons")
        found: dict[str, Any] = {"quality": self._quality(method)}
        for column in TABLES["rounds"].columns:
            if column.unit in ("byte", "FLOP", "token", "s", "J") and column.name not in ("start_s", "end_s"):
                found[column.name] = pc.sum(rounds[column.name], min_count=0).as_py()
        for way in ("forward", "backward"):
            found[f"server_flops_{way}"] += pc.sum(lessons[f"flops_{way}"], min_count=0).as_py()
        ends = [pc.max(table["end_s"]).as_py() or 0.0 for table in (rounds, lessons)]
        found["simulated_seconds"] = max(ends)
        found["rounds"] = self.manifest(method).rounds[-1] + 1
        found["clients_trained"] = pc.sum(rounds["completed"], min_count=0).as_py()
        return found

    def _quality(self, method: str) -> dict[str, float]:
        rows = self.table(method, "evals").select(["phase", "metric", "value"]).to_pylist()
        return {f"{row['phase']}/{row['metric']}": row["value"] for row in rows if row["phase"] != "pretrain"}


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
