"""Which part of a run is exported."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedsim.errors import UserError
from fedsim.trace.reader import Condition, Run


@dataclass(frozen=True)
class Cut:
    """Some methods and some rounds."""

    methods: tuple[str, ...]
    first: int = -1
    """Round from which on; -1: with what was tested before the first one."""
    last: int | None = None
    """Round up to which; None: to the end."""

    def filters(self, table: str) -> list[Condition]:
        """The rows of a table, as `Run.read` takes them; stages are not cut, they say what the rounds are about."""
        found: list[Condition] = [("method", "in", list(self.methods))]
        if table != "stages":
            found.append(("round", ">=", self.first))
            if self.last is not None:
                found.append(("round", "<=", self.last))
        return found


def cut(run: Run, methods: Sequence[str], rounds: str | None) -> Cut:
    """What is asked for.

    Args:
        run: the run.
        methods: names of those wanted; empty: all that have ended.
        rounds: as in 10..20, both included, 10.. or ..20, or 7; None: all.

    Raises:
        UserError: there is no such method, or that is no range.
    """
    for name in methods:
        if name not in run.methods:
            raise UserError(f"is {name}; methods that have ended: {', '.join(run.methods)}", key="--method")
    names = tuple(name for name in run.methods if not methods or name in methods)
    if rounds is None:
        return Cut(names)
    found = re.fullmatch(r"(\d*)(\.\.)?(\d*)", rounds.strip())
    if found is None or not (found[1] or found[3]):
        raise UserError(f"is {rounds!r}: give a range of rounds such as 10..20, 10.., ..20 or 7", key="--rounds")
    first = int(found[1]) if found[1] else -1
    last = int(found[3]) if found[3] else None if found[2] else first
    if last is not None and last < first:
        raise UserError(f"is {rounds!r}, which has no round in it", key="--rounds")
    return Cut(names, first, last)
