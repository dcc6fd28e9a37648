"""FLASH's state traces (github.com/PKU-Chengxu/FLASH): what Android phones reported of themselves, second by second.

A JSON object by device; ``messages`` of each has a line for every change, ``2020-01-02 08:15:00<tab>screen_off``.
States are those that FLASH's own code knows. A device is charging, on Wi-Fi, or idle (its screen is locked) from the
message that says so to the one that ends it; before the first message of a kind it is not. As in FLASH, time 0 is the
beginning of 2 January 2020 by the phone's own clock, and a recording begins anew as soon as it ends. Unlike there, a
phone that is still ready in its last message is ready up to it, and one that never is ready belongs to the fleet.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fedsim.errors import UserError
from fedsim.fleet.availability.recorded import Intervals
from fedsim.fleet.readers.recordings import Recordings, Spans
from fedsim.fleet.table import content

Condition = Literal["charging", "wifi", "idle"]
CONDITIONS: tuple[Condition, ...] = ("charging", "wifi", "idle")
_BEGINNING = datetime(2020, 1, 2)
# What each message says: (condition, holds from now on); None: nothing about any of them.
_STATES: dict[str, tuple[Condition, bool] | None] = {
    "battery_charged_on": ("charging", True),
    "battery_charged_off": ("charging", False),
    "wifi": ("wifi", True),
    **dict.fromkeys(("2g", "3g", "4g", "5g", "unknown"), ("wifi", False)),
    "screen_lock": ("idle", True),
    "screen_unlock": ("idle", False),
    "screen_on": None,
    "screen_off": None,
}


class _Broken(ValueError):
    """A recording that cannot be used: which of its lines, and why."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(problem)


def read(path: Path, require: Iterable[Condition], leave_out_broken: bool, key: str) -> Recordings:
    """Read a file of state traces.

    Args:
        path: The JSON file.
        require: A device is available while all of these hold; FLASH takes all three.
        leave_out_broken: Pass over devices with a line that cannot be read, as FLASH does, where the file would be
            refused.
        key: The scenario's key that names the file.

    Raises:
        UserError: It cannot be read, is no such file, or a device's messages cannot be read.
    """
    needed = frozenset(require)
    found: list[tuple[Spans, float]] = []
    names: list[str] = []
    left_out: list[str] = []
    for device, trace in _devices(path, key).items():
        try:
            found.append(_recording(trace, needed))
            names.append(device)
        except _Broken as error:
            if not leave_out_broken:
                fault = f"line {error.line} of its messages {error}"
                raise UserError(fault, file=path, key=f"{device}.messages") from None
            left_out.append(device)
    if not found:
        raise UserError("holds no recording that can be used", file=path, key=key)
    return Recordings(Intervals.of(found), tuple(names), tuple(left_out))


def _devices(path: Path, key: str) -> dict[str, Any]:
    try:
        devices = json.loads(content(path, key))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise UserError(f"is not JSON: {error}", file=path, line=line, key=key) from None
    if not isinstance(devices, dict):
        raise UserError("must be a JSON object with an entry a device", file=path, key=key)
    return devices


def _recording(trace: Any, needed: frozenset[Condition]) -> tuple[Spans, float]:
    """Intervals and length of one device's recording, turned so that 0 is the beginning of 2 January 2020."""
    events = _events(trace)
    first, last = events[0][0], events[-1][0]
    if first == last:
        raise _Broken(1, "is as old as the last one: the recording has no length")
    holding: set[Condition] = set()
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for time_s, state in events:
        if state is not None:
            condition, holds = state
            (holding.add if holds else holding.discard)(condition)
        ready = needed <= holding
        if ready and since is None:
            since = time_s
        elif not ready and since is not None:
            spans.append((since, time_s))
            since = None
    if since is not None:
        spans.append((since, last))
    period = last - first
    return sorted(part for a, b in spans if a < b for part in _turned(a, b, period)), period


def _turned(start_s: float, end_s: float, period_s: float) -> Spans:
    """An interval in cyclic time, in two parts where it goes over the seam."""
    start = start_s % period_s
    end = start + end_s - start_s
    return [(start, end)] if end <= period_s else [(start, period_s), (0.0, end - period_s)]


def _events(trace: Any) -> list[tuple[float, tuple[Condition, bool] | None]]:
    """Time and state of every message, oldest first; of the same second in the order of the file."""
    if not isinstance(trace, dict) or not isinstance(trace.get("messages"), str):
        raise _Broken(1, "is missing: a device must have `messages`, a text")
    days: dict[str, float] = {}
    events = []
    for number, line in enumerate(trace["messages"].split("\n"), 1):
        if not line.strip():
            continue
        when, tab, what = line.strip().partition("\t")
        state = what.strip().lower()
        if not tab or (state not in _STATES and not _is_level(state)):
            known = ", ".join([*_STATES, "a battery level like 87%"])
            raise _Broken(number, f"is {line.strip()!r}; a line is a time, a tab, and one of: {known}")
        events.append((_seconds(when.strip(), number, days), _STATES.get(state)))
    if not events:
        raise _Broken(1, "is missing: there are no messages")
    return sorted(events, key=lambda event: event[0])


def _is_level(state: str) -> bool:
    try:
        return state.endswith("%") and 0 <= float(state[:-1]) <= 100
    except ValueError:
        return False


def _seconds(when: str, line: int, days: dict[str, float]) -> float:
    """Seconds since the beginning of time; the same dates come again and again, so they are worked out once."""
    date, _, clock = when.partition(" ")
    try:
        if date not in days:
            days[date] = (datetime.strptime(date, "%Y-%m-%d") - _BEGINNING).total_seconds()
        hour, minute, second = map(int, clock.split(":"))
        if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
            raise ValueError
    except ValueError:
        raise _Broken(line, f"has the time '{when}', it must be like 2020-01-02 08:15:00") from None
    return days[date] + 3600 * hour + 60 * minute + second
