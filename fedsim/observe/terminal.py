"""Progress on a terminal: live bars where there is one, a line a round where output is piped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from fedsim.observe.observer import RoundReport
from fedsim.report.units import duration


def line(report: RoundReport) -> str:
    """A round in one line."""
    parts = [
        f"{report.method} {report.round}/{report.rounds}",
        f"{report.phase}: {report.stage}",
        f"{report.completed} of {report.cohort} clients",
        f"simulated {duration(report.simulated_s)}",
        f"{report.upload_bytes / 1e6:.1f} MB up, {report.download_bytes / 1e6:.1f} MB down",
    ]
    if report.loss is not None:
        parts.append(f"loss {report.loss:.3f}")
    parts += [f"{name.rpartition('/')[2]} {value:.4f}" for name, value in _headline(report).items()]
    return " | ".join(parts)


def _headline(report: RoundReport) -> dict[str, float]:
    wanted = ("mlm_loss", "accuracy", "span_f1")
    return {
        name: value
        for name, value in report.quality.items()
        if name.startswith(report.phase) and name.rpartition("/")[2] in wanted
    }


class Lines:
    """One plain line for everything that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Print it."""
        self._print(text)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Say that it starts, and how long it took."""
        start = time.monotonic()
        self._print(f"{label} ...")
        yield lambda step: None
        self._print(f"{label}: done in {time.monotonic() - start:.1f} s")

    def round(self, report: RoundReport) -> None:
        """Print the round."""
        self._print(line(report))

    def _print(self, text: str) -> None:
        self._console.print(
            f"[{time.monotonic() - self._started:6.1f} s] {text}", markup=False, highlight=False, soft_wrap=True
        )


class Bars:
    """Live bars: one for each method, one for each long step; evaluated rounds leave a line."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
        )
        self._methods: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print it above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar that goes away when its step is over."""
        bar = self._progress.add_task(label, total=total, detail="")
        try:
            yield lambda step: self._progress.advance(bar, step)
        finally:
            self._progress.remove_task(bar)

    def round(self, report: RoundReport) -> None:
        """Move the method's bar; leave a line when the round was evaluated."""
        if report.method not in self._methods:
            self._methods[report.method] = self._progress.add_task(report.method, total=report.rounds, detail="")
        detail = (
            f"{report.stage} | {report.completed}/{report.cohort} clients | simulated {duration(report.simulated_s)} | "
            f"{(report.upload_bytes + report.download_bytes) / 1e6:.0f} MB"
        )
        self._progress.update(self._methods[report.method], completed=report.round, detail=detail)
        if report.quality:
            self.note(line(report))
