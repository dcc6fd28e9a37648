"""Progress as JSON, an object a line, for programs that watch a run; docs/output.md lists the events."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from fedsim.observe.observer import RoundReport, RoundStart


class Events:
    """Writes an event a line, at once, so that whoever reads along never waits for a buffer."""

    def __init__(self, stream: TextIO, now_s: Callable[[], float] = time.time) -> None:
        self._stream, self._now_s = stream, now_s
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Any) -> None:
        """One event; `wall_s` is the real time, since 1970-01-01 UTC."""
        line = json.dumps({"event": event, "wall_s": round(self._now_s(), 3), **fields}, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def note(self, text: str) -> None:
        """A line of information."""
        self.write("note", text=text)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A step begins and ends; how far it is in between is not told."""
        started_s, done = time.monotonic(), 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps

        self.write("step_started", label=label, total=total)
        ended = False
        try:
            yield advance
            ended = True
        finally:
            seconds = round(time.monotonic() - started_s, 3)
            self.write("step_ended", label=label, done=done, seconds=seconds, failed=not ended)

    def begin(self, start: RoundStart) -> None:
        """A round begins."""
        self.write("round_started", **vars(start))

    def trained(self, share: float) -> None:
        """Left out: blocks of clients end many times a second."""

    def round(self, report: RoundReport) -> None:
        """A round is over."""
        self.write("round_ended", **round_fields(report))


def round_fields(report: RoundReport) -> dict[str, Any]:
    """A finished round in plain values; rounds count from 0, as in the trace."""
    outcomes: dict[str, int] = {}
    for (_, outcome), count in report.outcomes.items():
        outcomes[outcome] = outcomes.get(outcome, 0) + count
    return {
        "method": report.method,
        "phase": report.phase,
        "stage": report.stage,
        "stage_index": report.stage_index,
        "round": report.round - 1,
        "rounds": report.rounds,
        "cohort": report.cohort,
        "outcomes": outcomes,
        "loss": _finite(report.loss),
        "quality": {name: _finite(value) for name, value in report.quality.items()},
        "simulated_s": report.simulated_s,
        "upload_bytes": report.upload_bytes,
        "download_bytes": report.download_bytes,
        "round_simulated_s": report.round_s,
        "spent": report.spent.as_dict(),
        "seconds": round(report.seconds, 6),
        "hosts": report.hosts,
        "host_busy_s": round(report.busy_s, 6),
    }


def _finite(value: float | None) -> float | None:
    """JSON has no word for the others."""
    return value if value is not None and math.isfinite(value) else None
