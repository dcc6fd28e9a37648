"""The seam through which a run says what it is doing."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class RoundStart:
    """A round that begins."""

    method: str
    phase: str
    stage: str
    round: int
    """Rounds finished before it, over the whole method."""
    rounds: int
    """Rounds the method will have."""
    cohort: int


@dataclass(frozen=True)
class RoundReport:
    """A finished round; bytes are cumulative for the method."""

    method: str
    phase: str
    stage: str
    round: int
    """Rounds finished, over the whole method."""
    rounds: int
    """Rounds the method will have."""
    cohort: int
    completed: int
    simulated_s: float
    upload_bytes: int
    download_bytes: int
    loss: float | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    """Metrics by name; empty where the round was not evaluated."""


class Observer(Protocol):
    """Something that shows progress. It must not change a result."""

    def note(self, text: str) -> None:
        """One line of information."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """A bar: ``with observer.task("reading", 3500) as advance: advance(1)``; total None: length unknown."""

    def begin(self, start: RoundStart) -> None:
        """A round begins."""

    def trained(self, share: float) -> None:
        """So much of the round's training is done, 0 to 1."""

    def round(self, report: RoundReport) -> None:
        """A round is over."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def task(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """A bar that nobody sees."""
        return nullcontext(lambda step: None)

    def begin(self, start: RoundStart) -> None:
        """Ignore it."""

    def trained(self, share: float) -> None:
        """Ignore it."""

    def round(self, report: RoundReport) -> None:
        """Ignore it."""
