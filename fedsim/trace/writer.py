"""Writes a method's trace: rounds are added, sealed, and written to Parquet parts that a manifest lists.

A part is on the disk before the manifest that lists it, and a manifest before the checkpoint that counts on it.
Killed between any two of these, a run goes on from its checkpoint: `restore` drops what came later.

Where much comes between two checkpoints, parts are written meanwhile by a thread, one at a time: a run waits for the
disk when it is a whole part ahead of it, so that memory is bounded.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fedsim.errors import FedsimError, choose
from fedsim.store import atomic
from fedsim.trace.digest import HASHED, chain_rounds
from fedsim.trace.manifest import NAME, Flush, Manifest, Part, trace_folder
from fedsim.trace.schema import SCHEMA_VERSION, TABLES, VERSION_KEY

PART_ROWS, PART_ROUNDS = 2**17, 2**11
"""Trips, or rounds, that make a part that is written without being asked for."""
TOGETHER = 32
"""Rounds that are checked and hashed at once: what is done for each of many columns is quicker done in a row."""

Rows = dict[str, Any]


@dataclass
class _Batch:
    """Rows that are to become parts."""

    rounds: tuple[int, int] | None = None
    """First and last round; None where there are events alone."""
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    trips: int = 0

    @property
    def full(self) -> bool:
        """There is enough for parts of a good size."""
        rounds = 0 if self.rounds is None else self.rounds[1] - self.rounds[0] + 1
        return rounds >= PART_ROUNDS or self.trips >= PART_ROWS

    def add(self, later: "_Batch") -> None:
        """Append what came later."""
        if later.rounds is not None:
            self.rounds = (self.rounds or later.rounds)[0], later.rounds[1]
        for name, tables in later.tables.items():
            self.tables.setdefault(name, []).extend(tables)
        self.trips += later.trips


class TraceWriter:
    """The only writer of one method's trace in a run's folder. `flush` puts on the disk what is not there yet."""

    def __init__(self, folder: Path, method: str) -> None:
        self.method = method
        self._folder = trace_folder(folder, method)
        self._foreign = (self._folder / NAME).exists()
        self._manifest = Manifest(method)
        self._digest = self._manifest.digest
        self._sealed: int | None = None
        self._open: dict[str, list[Rows]] = {}
        self._fresh: list[dict[str, list[Rows]]] = []
        self._events: list[Rows] = []
        self._waiting = _Batch()
        self._writing: tuple[_Batch, Future[Manifest]] | None = None
        self._thread = ThreadPoolExecutor(1, f"trace of {method}")

    @property
    def digest(self) -> str:
        """Hash over all sealed rounds, hexadecimal: the run's `trace_sha256` for this method."""
        self._hash()
        return self._digest

    def add(self, table: str, rows: Mapping[str, Any] | pa.Table) -> None:
        """Add rows of the round that is going on; `Table.conform` says what rows may be. `method` is filled in here.

        Raises:
            FedsimError: No such table. Rows that do not fit it are found when their round is hashed.
        """
        if table not in TABLES:
            raise FedsimError(f"no trace table '{table}': {choose(table, TABLES)}")
        given = dict(zip(rows.column_names, rows.columns, strict=True)) if isinstance(rows, pa.Table) else rows
        target = self._open.setdefault(table, []) if TABLES[table].hashed else self._events
        target.append({**given, "method": self.method})

    def seal(self, round_: int) -> None:
        """Close a round: its rows are hashed, and written in the background once there are many.

        Args:
            round_: One more than the round sealed before; the first is 0, or -1 for an evaluation before it.

        Raises:
            FedsimError: Rounds out of order, or a row of another round was added; rows that do not fit their table; or
                as `flush` raises, for rounds that were sealed before.
        """
        if round_ not in ((-1, 0) if self._sealed is None else (self._sealed + 1,)):
            raise FedsimError(f"trace of {self.method}: round {round_} cannot follow round {self._sealed}")
        for name, chunks in self._open.items():
            if any(np.any(np.asarray(rows.get(TABLES[name].round, round_)) != round_) for rows in chunks):
                raise FedsimError(f"trace of {self.method}: {name} has rows that are not of round {round_}")
        self._fresh.append(self._open)
        self._open = {}
        self._sealed = round_
        if len(self._fresh) >= TOGETHER:
            self._hash()
            if self._waiting.full:
                self._start()

    def _hash(self) -> None:
        """Check and hash what was sealed since, and have it wait to be written."""
        if self._events:
            self._waiting.add(_Batch(None, {"events": [TABLES["events"].gather(self._events)]}))
            self._events = []
        if not self._fresh:
            return
        assert self._sealed is not None
        rounds = self._sealed - len(self._fresh) + 1, self._sealed
        given = {table.name: [rows for of in self._fresh for rows in of.get(table.name, ())] for table in HASHED}
        content = {name: TABLES[name].gather(chunks) for name, chunks in given.items() if chunks}
        self._digest = chain_rounds(self._digest, *rounds, content)
        trips = content["trips"].num_rows if "trips" in content else 0
        self._waiting.add(_Batch(rounds, {name: [rows] for name, rows in content.items()}, trips))
        self._fresh = []

    def flush(self) -> None:
        """Write the sealed rounds, and events, that are not on disk yet: one part for each table that has rows.

        Raises:
            FedsimError: The disk refused (what was flushed before is intact, and `flush` can be called again), or
                there is a trace already that was not restored.
        """
        self._hash()
        self._start()
        self._settle()

    def _start(self) -> None:
        """Have the thread write what waits, after what it is writing."""
        self._settle()
        batch = self._waiting
        if batch.rounds is None and not batch.tables:
            return
        if self._foreign:
            raise FedsimError(f"{self._folder} has a trace already: restore it, or choose another --out")
        self._waiting = _Batch()
        self._writing = batch, self._thread.submit(self._write, self._manifest, batch, self._digest)

    def _settle(self) -> None:
        """Wait for the thread; what it could not write waits again."""
        if self._writing is None:
            return
        batch, job = self._writing
        wait([job])
        self._writing = None
        if job.exception() is not None:
            batch.add(self._waiting)
            self._waiting = batch
        self._manifest = job.result()

    def _write(self, manifest: Manifest, batch: _Batch, digest: str) -> Manifest:
        """Write parts, then the manifest that lists them too."""
        # Named by its first round alone: a flush that is tried again then takes the place of what the first try wrote.
        start = f"from-round-{batch.rounds[0]}" if batch.rounds else "events"
        parts = []
        for name, tables in batch.tables.items():
            content = pa.concat_tables(tables)
            if content.num_rows:
                file = f"{name}/{len(manifest.flushes):06d}-{start}.parquet"
                sha256 = atomic.write_parquet(self._folder / file, content, {VERSION_KEY: str(SCHEMA_VERSION)})
                parts.append(Part(name, file, content.num_rows, sha256))
        longer = Manifest(self.method, (*manifest.flushes, Flush(batch.rounds, digest, tuple(parts))))
        longer.save(self._folder)
        return longer

    def state(self) -> dict[str, Any]:
        """For the checkpoint, as JSON: which flushes belong to it.

        Raises:
            FedsimError: There are rounds that were not flushed: the checkpoint would count on rows that are lost.
        """
        if self._fresh or self._open or self._waiting.rounds is not None or self._writing is not None:
            raise FedsimError(f"trace of {self.method}: flush before the checkpoint")
        return {"flushes": len(self._manifest.flushes), "round": self._sealed, "trace_sha256": self._digest}

    def restore(self, state: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Go back to where `state()` was taken (None: to the start) and remove everything written later.

        Returns:
            One line for each file that was removed, for the user.

        Raises:
            UserError: A part is missing or damaged; names it.
            FedsimError: The trace is not the one of this state.
        """
        manifest = Manifest(self.method)
        if state is not None and state["flushes"]:
            stored = Manifest.load(self._folder)
            manifest = Manifest(self.method, stored.flushes[: state["flushes"]])
            if (len(manifest.flushes), manifest.digest) != (state["flushes"], state["trace_sha256"]):
                raise FedsimError(f"{self._folder} is not the trace that belongs to this checkpoint")
            for part in manifest.parts():
                part.check(self._folder)
            # Before the files go: a manifest must never list a file that is not there.
            manifest.save(self._folder)
        else:
            (self._folder / NAME).unlink(missing_ok=True)
        notes = self._remove_unlisted(manifest)
        self._foreign = False
        self._manifest = manifest
        self._digest = manifest.digest
        self._sealed = manifest.rounds[-1] if manifest.rounds else None
        self._open, self._fresh, self._events, self._waiting = {}, [], [], _Batch()
        return notes

    def _remove_unlisted(self, manifest: Manifest) -> tuple[str, ...]:
        listed = {self._folder / part.file for part in manifest.parts()} | {self._folder / NAME}
        unlisted = sorted(path for path in self._folder.rglob("*") if path.is_file() and path not in listed)
        for path in unlisted:
            path.unlink()
        return tuple(f"removed {path}, written after the checkpoint" for path in unlisted)
