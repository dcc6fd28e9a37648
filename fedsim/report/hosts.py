"""How busy a run kept its hosts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Use(NamedTuple):
    """Of the real time from the end of one round to the end of the next; a sitting's first round is left out."""

    hosts: int
    """As many as in the last sitting."""
    rounds: int
    """That were looked at."""
    span_s: float
    host_s: float
    """Time that there was on all hosts."""
    busy_s: float
    """Part of that: training and testing."""

    @property
    def share(self) -> float:
        """Busy seconds of the time that there was."""
        return self.busy_s / self.host_s

    def __str__(self) -> str:
        hosts = f"{self.hosts} host{'' if self.hosts == 1 else 's'}"
        return f"{hosts}, {100 * self.share:.0f} % busy; {self.span_s / self.rounds:.3g} s a round"


def use(events: Iterable[Any]) -> Use | None:
    """From rows of the table `events` of one method, as they were written; None where no two rounds follow.

    In the first round after a start hosts are still coming.
    """
    hosts, rounds, span_s, host_s, busy_s = 0, 0, 0.0, 0.0, 0.0
    before: float | None = None
    busy = 0.0
    for row in events:
        if row.kind == "begun":
            before = None
        elif row.kind == "hosts busy":
            hosts, busy = int(row.text.split()[0]), row.seconds
        elif row.kind == "round":
            if before is not None and hosts:
                rounds, span_s, busy_s = rounds + 1, span_s + row.wall_s - before, busy_s + busy
                host_s += hosts * (row.wall_s - before)
            before = row.wall_s
    return Use(hosts, rounds, span_s, host_s, busy_s) if host_s > 0.0 else None


def lines(run: Path, methods: Sequence[str]) -> list[str]:
    """One line a method that was trained; methods that ended before their second round have none."""
    from fedsim.trace.reader import read_run

    events = read_run(run).events
    found = {name: use(events[events["method"] == name].itertuples()) for name in methods}
    known = {name: one for name, one in found.items() if one is not None}
    return [f"hosts:      {one}" + (f" ({name})" if len(known) > 1 else "") for name, one in known.items()]
