"""The events of a Chrome trace: https://ui.perfetto.dev and chrome://tracing open a file of them.

Times are kept in whole nanoseconds of the simulated clock, so that slices that touch do not overlap by a rounding; the
format counts microseconds.
"""

from collections.abc import Mapping
from typing import Any

Event = dict[str, Any]
Args = Mapping[str, Any]


def nanoseconds(seconds: float) -> int:
    """The nearest whole number of them."""
    return round(seconds * 1e9)


class Timeline:
    """Collects events on tracks; a process of the format is a method, a thread is a track."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._names: list[Event] = []
        self._tracks: dict[tuple[int, str], int] = {}
        self._processes: dict[str, int] = {}

    def process(self, name: str) -> int:
        """The number of a process, in the order in which they are first named."""
        if name not in self._processes:
            pid = self._processes[name] = len(self._processes) + 1
            self._metadata("process_name", pid, 0, name=name)
            self._metadata("process_sort_index", pid, 0, sort_index=pid)
        return self._processes[name]

    def track(self, pid: int, name: str, order: int | None = None) -> int:
        """The number of a track within a process; they are shown by `order`, or in the order first named."""
        if (pid, name) not in self._tracks:
            tid = self._tracks[pid, name] = len(self._tracks) + 1
            self._metadata("thread_name", pid, tid, name=name)
            self._metadata("thread_sort_index", pid, tid, sort_index=tid if order is None else order)
        return self._tracks[pid, name]

    def slice(self, pid: int, tid: int, name: str, start_ns: int, end_ns: int, args: Args) -> None:
        """Something that lasts."""
        self._add("X", pid, tid, name, start_ns, args, dur=(end_ns - start_ns) / 1000)

    def instant(self, pid: int, tid: int, name: str, at_ns: int, args: Args) -> None:
        """Something that happens on a track."""
        self._add("i", pid, tid, name, at_ns, args, s="t")

    def counter(self, pid: int, name: str, at_ns: int, values: Mapping[str, float]) -> None:
        """Numbers from a time on."""
        self._add("C", pid, 0, name, at_ns, values)

    def document(self, about: Args) -> dict[str, Any]:
        """The whole file: names first, then events by time, a slice before what is inside it."""
        events = sorted(self._events, key=lambda event: (event["ts"], -event.get("dur", 0.0)))
        return {"displayTimeUnit": "ms", "otherData": dict(about), "traceEvents": [*self._names, *events]}

    def _add(self, kind: str, pid: int, tid: int, name: str, at_ns: int, args: Args, **more: Any) -> None:
        event = {"ph": kind, "pid": pid, "tid": tid, "name": name, "ts": at_ns / 1000, **more, "args": dict(args)}
        self._events.append(event)

    def _metadata(self, kind: str, pid: int, tid: int, **args: Any) -> None:
        self._names.append({"ph": "M", "pid": pid, "tid": tid, "name": kind, "ts": 0, "args": args})
