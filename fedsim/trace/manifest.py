"""`manifest.json`: which files make up a method's trace. A file that it does not list is not part of the trace."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from fedsim.errors import UserError
from fedsim.store import atomic
from fedsim.trace.digest import START
from fedsim.trace.schema import SCHEMA_VERSION

NAME = "manifest.json"
_RESUME = "go on with --resume, or take the folder from where the run was made"


def trace_folder(run: Path, method: str) -> Path:
    """Where a method's trace lies inside a run's folder."""
    return run / "trace" / method


@dataclass(frozen=True)
class Part:
    """One Parquet file."""

    table: str
    file: str
    """Path relative to the manifest."""
    rows: int
    sha256: str

    def check(self, folder: Path) -> Path:
        """The file's path, after proof that it is what was written.

        Raises:
            UserError: It is missing, or its content is another.
        """
        path = folder / self.file
        if not path.is_file():
            raise UserError(f"missing, though {NAME} lists it: {_RESUME}", file=path)
        if atomic.sha256(path) != self.sha256:
            raise UserError(f"damaged or changed, its sha256 is not the one in {NAME}: {_RESUME}", file=path)
        return path


@dataclass(frozen=True)
class Flush:
    """What one flush wrote: at most one part a table."""

    rounds: tuple[int, int] | None
    """First and last round; None where there were events alone."""
    digest: str
    """The trace's hash after it."""
    parts: tuple[Part, ...]

    def parts_of(self, table: str) -> Iterator[Part]:
        """Its files of one table."""
        return (part for part in self.parts if part.table == table)

    @cached_property
    def json(self) -> str:
        """Its line of the manifest; kept, because every later flush writes it again."""
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True)
class Manifest:
    """The trace of one method."""

    method: str
    flushes: tuple[Flush, ...] = ()

    @property
    def digest(self) -> str:
        """The trace's hash."""
        return self.flushes[-1].digest if self.flushes else START

    @property
    def rounds(self) -> range:
        """The rounds in it (from -1 where the method was evaluated before its first round)."""
        spans = [flush.rounds for flush in self.flushes if flush.rounds]
        return range(spans[0][0], spans[-1][1] + 1) if spans else range(0)

    def parts(self) -> Iterator[Part]:
        """Its files, oldest first."""
        return (part for flush in self.flushes for part in flush.parts)

    def parts_of(self, table: str) -> Iterator[Part]:
        """Those of one table."""
        return (part for flush in self.flushes for part in flush.parts_of(table))

    def save(self, folder: Path) -> None:
        """Write `folder/manifest.json`; raises FedsimError when the disk refuses."""
        head = {"schema_version": SCHEMA_VERSION, "method": self.method, "trace_sha256": self.digest}
        lines = ",\n".join(flush.json for flush in self.flushes)
        atomic.write_bytes(folder / NAME, f'{json.dumps(head)[:-1]}, "flushes": [\n{lines}\n]}}\n'.encode())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `folder/manifest.json`.

        Raises:
            UserError: It is missing or damaged, or another version of fedsim wrote it.
        """
        path = folder / NAME
        if not path.is_file():
            raise UserError(f"no {NAME} here, so nothing was written yet: {_RESUME}", file=folder)
        try:
            content = json.loads(path.read_bytes())
            version = int(content["schema_version"])
            if version > SCHEMA_VERSION:
                reason = f"trace version {version} was written by a newer fedsim (this one reads {SCHEMA_VERSION})"
                raise UserError(f"{reason}: upgrade fedsim", file=path)
            return cls(content["method"], tuple(_flush(**flush) for flush in content["flushes"]))
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"damaged ({error!r}): {_RESUME}", file=path) from error


def _flush(rounds: list[int] | None, digest: str, parts: list[dict[str, Any]]) -> Flush:
    span = (rounds[0], rounds[1]) if rounds else None
    return Flush(span, digest, tuple(Part(**part) for part in parts))
