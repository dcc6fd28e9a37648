"""The seam through which a run says what it is doing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fedsim.totals import Totals


def _nothing() -> "Totals":
    from fedsim.totals import Totals  # it brings the clock and the fleet with it, which whoever tells of a typo lacks

    return Totals()


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
    phase_first: int = 0
    """First round of the phase, over the whole method."""
    phase_rounds: int = 0
    """Rounds that the phase will have; 0: not known."""


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
    stage_index: int = 0
    """Within the phase, from 0."""
    totals: "Totals" = field(default_factory=_nothing)
    """Spent by the method so far."""
    spent: "Totals" = field(default_factory=_nothing)
    """In this round, and in the server's lessons before it."""
    outcomes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Trips that ended in this round, by device class and outcome."""
    round_s: float = 0.0
    """Simulated time from the round's start to its end."""
    seconds: float = 0.0
    """Real time that the round took."""
    hosts: int = 0
    """None where nothing is trained."""
    busy_s: float = 0.0
    """Real time that hosts spent on training and testing, summed over them."""
    published_bytes: int = 0
    """Groups that hosts can fetch."""

    @property
    def utilisation(self) -> float:
        """Share of the hosts' real time that went into training and testing; 0 where there are none."""
        return self.busy_s / (self.hosts * self.seconds) if self.hosts and self.seconds else 0.0


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


class Several:
    """Tells several observers."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def note(self, text: str) -> None:
        """To all of them, as everything else."""
        for observer in self._observers:
            observer.note(text)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on each of them."""
        with ExitStack() as stack:
            bars = [stack.enter_context(observer.task(label, total)) for observer in self._observers]

            def advance(steps: int) -> None:
                for bar in bars:
                    bar(steps)

            yield advance

    def begin(self, start: RoundStart) -> None:
        """A round begins."""
        for observer in self._observers:
            observer.begin(start)

    def trained(self, share: float) -> None:
        """So much of its training is done."""
        for observer in self._observers:
            observer.trained(share)

    def round(self, report: RoundReport) -> None:
        """A round is over."""
        for observer in self._observers:
            observer.round(report)
