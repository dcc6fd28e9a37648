"""Progress on a terminal: live bars, and a line for every evaluated round."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from fedsim.observe.lines import Lines, line, numbers
from fedsim.observe.observer import RoundReport, RoundStart
from fedsim.report.units import clock

QUICK_S = 0.5
"""Steps that are over sooner than this are not shown: bars that come and go are hard on the eyes."""


def observer_on(console: Console) -> "Bars | Lines":
    """Bars where they can be drawn, else lines."""
    return Bars(console) if console.is_interactive and console.file.isatty() else Lines(console)


class Bars:
    """A bar for the method, with the round below it; one for each long step."""

    def __init__(self, console: Console, now_s: Callable[[], float] = time.monotonic) -> None:
        label = Column(no_wrap=True, overflow="ellipsis", max_width=max(console.width - 46, 12))
        narrow, plain = console.width < 60, not console.encoding.startswith("utf")
        self._progress = Progress(
            SpinnerColumn("line" if plain else "dots"),
            TextColumn("{task.description}", table_column=label),
            BarColumn(bar_width=8 if narrow else 24),
            _Count(Column(no_wrap=True)),
            _Clock(Column(no_wrap=True)),
            get_time=now_s,
        )
        self._method: TaskID | None = None
        self._start: RoundStart | None = None
        self._report: RoundReport | None = None
        self._share = 0.0
        self._live = Live(get_renderable=self.view, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Print it above the bars, in one piece, so that a path can be copied."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar that goes away when its step is over."""
        bar = self._add(label, total, 0)
        try:
            yield lambda steps: self._advance(bar, steps)
        finally:
            self._progress.remove_task(bar)

    def begin(self, start: RoundStart) -> None:
        """Show what goes on."""
        if self._method is None:
            self._method = self._add(start.method, start.rounds, start.round)
            self._report = None
        self._start, self._share = start, 0.0

    def trained(self, share: float) -> None:
        """Move the method's bar by a part of a round."""
        assert self._method is not None
        self._advance(self._method, share - self._share)
        self._share = share

    def round(self, report: RoundReport) -> None:
        """Move the method's bar; leave a line when the round was evaluated or is the last one."""
        assert self._method is not None
        self._advance(self._method, 1.0 - self._share)
        self._report, self._share = report, 0.0
        last = report.round == report.rounds
        if last:
            self._progress.remove_task(self._method)
            self._method = self._start = None
        if report.quality or last:
            self._live.console.print(line(report), markup=False, highlight=False)

    def view(self) -> RenderableType:
        """What is drawn, several times a second."""
        shown = [task for task in self._progress.tasks if task.id == self._method or (task.elapsed or 0.0) > QUICK_S]
        return Group(*([self._progress.make_tasks_table(shown)] if shown else []), *self._detail())

    def _add(self, label: str, total: int | None, done: int) -> TaskID:
        return self._progress.add_task(label, total=total, completed=done, first=done, moved_s=0.0)

    def _advance(self, bar: TaskID, steps: float) -> None:
        elapsed_s = next(task.elapsed for task in self._progress.tasks if task.id == bar)
        self._progress.update(bar, advance=steps, moved_s=elapsed_s)

    def _detail(self) -> Iterator[RenderableType]:
        if (start := self._start) is None:
            return
        done = "averaging and testing" if self._share > 0.999 else f"{100 * self._share:.0f} % trained"
        parts = [f"{start.phase}: {start.stage}", f"round {start.round + 1}: {start.cohort} clients, {done}"]
        # the numbers of the cohort are those of the round that goes on, the sums those of the rounds before it
        parts += numbers(self._report)[1:] if self._report else []
        yield Text("  " + " | ".join(parts), style="dim")


class _Count(ProgressColumn):
    """How far: 12/40, or a bare number where the end is not known."""

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        if task.total is None:
            return Text(f"{int(task.completed):,}" if task.completed else "")
        return Text(f"{int(task.completed + 1e-9):,}/{int(task.total):,}")


class _Clock(ProgressColumn):
    """Time left, by the pace since the bar began; time spent where there is no pace yet."""

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        elapsed_s, moved = task.elapsed or 0.0, task.completed - task.fields["first"]
        if task.total is None or moved <= 0:
            return Text(clock(elapsed_s), style="dim")
        pace_s = task.fields["moved_s"] / moved
        left_s = pace_s * (task.total - task.completed) - (elapsed_s - task.fields["moved_s"])
        return Text(f"{clock(max(left_s, 0.0))} left", style="cyan")
