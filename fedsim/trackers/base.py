"""What a tracker is told of a method's run, and what it must be able to do."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from fedsim.clock.trips import OUTCOMES
from fedsim.observe.observer import RoundReport

Status = Literal["finished", "stopped", "failed"]
Value = str | int | float | bool
LONGEST = 500
"""Characters of a parameter; a longer one is told by its length."""


@dataclass(frozen=True)
class Subject:
    """The method of a run that is reported on."""

    folder: Path
    """The run's."""
    scenario: str
    method: str
    parameters: Mapping[str, Value]

    @property
    def name(self) -> str:
        """As people look for it."""
        return f"{self.folder.resolve().name}/{self.method}"


@dataclass(frozen=True)
class Row:
    """The numbers of a round."""

    round: int
    """Over the whole method, from 0, as in the trace."""
    wall_s: float
    """Real time, since 1970-01-01 UTC."""
    numbers: Mapping[str, float]
    quality: Mapping[str, float]
    """Metrics by name, where the round was evaluated."""

    @property
    def all(self) -> dict[str, float]:
        """Both, those that are finite."""
        return {name: v for name, v in {**self.numbers, **self.quality}.items() if math.isfinite(v)}


class Session(Protocol):
    """A method's run in a tracker."""

    id: str
    """By which the tracker finds it again when the run goes on."""

    def log(self, rows: Sequence[Row]) -> None:
        """Finished rounds, in order."""

    def end(self, status: Status, summary: Mapping[str, Value]) -> None:
        """The method has ended, or the run has on the way; then the summary is empty."""


class Tracker(Protocol):
    """A module of this package."""

    PACKAGES: Sequence[str]
    """What must be installed, by the name that it is imported by; the extra has the module's name."""

    def where(self, folder: Path) -> str:
        """Where the numbers of a run go, in words."""

    def open_session(self, subject: Subject, known: str | None) -> Session:
        """Begin to report, or go on with a session that is known by its id."""


def row(report: RoundReport, wall_s: float) -> Row:
    """A finished round: its own numbers, and what the method has spent so far."""
    totals, trips = report.totals, dict.fromkeys((outcome.value for outcome in OUTCOMES), 0)
    for (_, outcome), count in report.outcomes.items():
        trips[outcome] += count
    numbers = {
        "so_far/simulated_s": report.simulated_s,
        "so_far/upload_bytes": totals.upload_bytes,
        "so_far/download_bytes": totals.download_bytes,
        "so_far/flops": totals.flops_forward + totals.flops_backward,
        "so_far/server_flops": totals.server_flops_forward + totals.server_flops_backward,
        "so_far/device_seconds": totals.device_seconds,
        "so_far/energy_j": totals.energy_j,
        "wasted_so_far/upload_bytes": totals.wasted_upload_bytes,
        "wasted_so_far/download_bytes": totals.wasted_download_bytes,
        "wasted_so_far/flops": totals.wasted_flops_forward + totals.wasted_flops_backward,
        "round/simulated_s": report.round_s,
        "round/real_s": report.seconds,
        "round/host_utilisation": report.utilisation,
        **{f"trips/{outcome}": count for outcome, count in trips.items()},
        **({} if report.loss is None else {f"{report.phase}/train_loss": report.loss}),
    }
    return Row(report.round - 1, wall_s, {name: float(v) for name, v in numbers.items()}, dict(report.quality))


def parameters(scenario: Mapping[str, Any], method: str) -> dict[str, Value]:
    """A scenario as JSON, flat: dotted keys, and of the methods only the one in question, as `method`."""
    others = {key: value for key, value in scenario.items() if key not in ("methods", "outputs")}
    found: dict[str, Value] = {"method.name": method}

    def collect(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                collect(f"{prefix}.{key}" if prefix else key, below)
        elif isinstance(value, str | int | float | bool):
            found[prefix] = value if not isinstance(value, str) else _short(value)
        elif value is not None:
            found[prefix] = _short(json.dumps(value))

    collect("", {**others, "method": scenario["methods"][method]})
    return found


def flat_summary(summary: Mapping[str, Any]) -> dict[str, Value]:
    """A method's summary: metrics are called as in the rounds."""
    numbers = {name: value for name, value in summary.items() if isinstance(value, str | int | float)}
    return {**summary.get("quality", {}), **{f"final/{name}": value for name, value in numbers.items()}}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 40]}... ({len(text):,} characters)"
