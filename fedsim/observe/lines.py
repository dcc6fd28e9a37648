"""Progress as plain lines, for output that goes to a file or a pipe."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console

from fedsim.observe.observer import RoundReport, RoundStart
from fedsim.report.units import duration, megabytes

HEADLINES = ("mlm_loss", "accuracy", "span_f1")
EVERY_S = 1.0
"""Rounds that were not evaluated get a line at most this often: price mode plays hundreds a second."""


def line(report: RoundReport) -> str:
    """A finished round in one line."""
    parts = [f"{report.method} {report.round}/{report.rounds}", f"{report.phase}: {report.stage}", *numbers(report)]
    parts += [f"{name} {value:.4f}" for name, value in headlines(report).items()]
    return " | ".join(parts)


def headlines(report: RoundReport) -> dict[str, float]:
    """The metrics of its phase that matter most; none where the round was not evaluated."""
    named = {name.rpartition("/")[2]: value for name, value in report.quality.items() if name.startswith(report.phase)}
    return {name: value for name, value in named.items() if name in HEADLINES}


def numbers(report: RoundReport) -> list[str]:
    """What a finished round has come to."""
    parts = [
        f"{report.completed} of {report.cohort} clients",
        f"simulated {duration(report.simulated_s)}",
        f"{megabytes(report.upload_bytes)} MB up, {megabytes(report.download_bytes)} MB down",
    ]
    return parts if report.loss is None else [*parts, f"loss {report.loss:.3f}"]


class Lines:
    """One line for everything that happens, and a sign of life where nothing does."""

    def __init__(self, console: Console, silence_s: float = 30.0) -> None:
        self._console, self._silence_s = console, silence_s
        self._began = self._spoke = time.monotonic()
        self._round_line = -EVERY_S
        self._tasks: list[str] = []
        self._round = ""
        self._trained = ""
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._break_silence, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def note(self, text: str) -> None:
        """Print it."""
        self._spoke = time.monotonic()
        self._console.print(
            f"[{self._spoke - self._began:6.1f} s] {text}", markup=False, highlight=False, soft_wrap=True
        )

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Say that it starts, and how long it took."""
        start, done = time.monotonic(), 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            self._tasks[-1] = f"{label}: {done:,}" + (f" of {total:,}" if total else "")

        self._tasks.append(label)
        self.note(f"{label} ...")
        try:
            yield advance
        finally:
            self._tasks.pop()
        self.note(f"{label}: done in {time.monotonic() - start:.1f} s")

    def begin(self, start: RoundStart) -> None:
        """Keep in mind what goes on."""
        self._round, self._trained = f"{start.method}, round {start.round + 1} of {start.rounds}, {start.stage}", ""

    def trained(self, share: float) -> None:
        """Keep in mind how far it is."""
        self._trained = f", {100 * share:.0f} % trained"

    def round(self, report: RoundReport) -> None:
        """Print the round if it was evaluated, is the last one, or if there was no line for a second."""
        last = report.round == report.rounds
        if report.quality or last or time.monotonic() - self._round_line >= EVERY_S:
            self.note(line(report))
            self._round_line = time.monotonic()
        if last:
            self._round = self._trained = ""

    def _break_silence(self) -> None:
        while not self._over.wait(self._silence_s / 4):
            if time.monotonic() - self._spoke >= self._silence_s:
                self.note(f"still at work: {self._tasks[-1] if self._tasks else self._round + self._trained}")
