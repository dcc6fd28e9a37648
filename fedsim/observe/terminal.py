"""Progress on a terminal: a live view of the method that runs, and a line for every evaluated round."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from fedsim.observe.lines import Lines, headlines, line
from fedsim.observe.observer import RoundReport, RoundStart
from fedsim.observe.pace import Pace
from fedsim.observe.sparkline import sparkline
from fedsim.report.units import clock, duration, flops, megabytes

QUICK_S = 0.5
"""Steps that are over sooner than this are not shown: bars that come and go are hard on the eyes."""
FRAMES_PER_S = 4
"""Drawing is done by a thread of its own, this often; rounds only leave numbers for it."""


def observer_on(console: Console, methods: Sequence[str] = ()) -> "Board | Lines":
    """A live view where one can be drawn, else lines.

    Args:
        console: where to.
        methods: all that will run, in order, where that is known.
    """
    return Board(console, methods) if console.is_interactive and console.file.isatty() else Lines(console)


@dataclass
class _Method:
    """The method that runs."""

    start: RoundStart
    pace: Pace
    share: float = 0.0
    """Of the round's training."""
    report: RoundReport | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Headline metrics, and the training loss, by name."""


class Board:
    """Bars for the method and its phase, what they have come to, and a bar for each long step."""

    def __init__(
        self, console: Console, methods: Sequence[str] = (), now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._methods, self._now_s = console, tuple(methods), now_s
        self._blocks = console.encoding.startswith("utf")
        self._spinner = Spinner("dots" if self._blocks else "line", style="green")
        self._steps: list[tuple[str, Pace]] = []
        self._method: _Method | None = None
        self._live = Live(get_renderable=self.view, console=console, refresh_per_second=FRAMES_PER_S, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Print it above the bars, in one piece, so that a path can be copied."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar that goes away when its step is over."""
        step = (label, Pace(total, self._now_s))
        self._steps.append(step)
        try:
            yield step[1].advance
        finally:
            self._steps.remove(step)

    def begin(self, start: RoundStart) -> None:
        """Show what goes on."""
        own = self._method
        if own is None:
            own = self._method = _Method(start, Pace(start.rounds, self._now_s, start.round))
        if own.start.phase != start.phase:  # another phase has a loss of another kind
            own.curves = {}
        own.start, own.share = start, 0.0

    def trained(self, share: float) -> None:
        """Move the method's bar by a part of a round."""
        assert self._method is not None
        self._method.pace.advance(share - self._method.share)
        self._method.share = share

    def round(self, report: RoundReport) -> None:
        """Move the method's bar; leave a line when the round was evaluated or is the last one."""
        own = self._method
        assert own is not None
        own.pace.advance(1.0 - own.share)
        own.report, own.share = report, 0.0
        for name, value in (*headlines(report).items(), *([] if report.loss is None else [("loss", report.loss)])):
            own.curves.setdefault(name, []).append(value)
        last = report.round == report.rounds
        if last:
            self._method = None
        if report.quality or last:
            self._console.print(line(report), markup=False, highlight=False)

    def view(self) -> RenderableType:
        """What is drawn, a few times a second, as wide as the terminal is just now."""
        own, steps = self._method, [step for step in list(self._steps) if step[1].elapsed_s > QUICK_S]
        rows = [*([(own.start.method, own.pace, True)] if own else []), *((*step, False) for step in steps)]
        if own and own.start.phase_rounds not in (0, own.start.rounds):
            done = own.pace.done - own.start.phase_first
            phase = Pace(own.start.phase_rounds, self._now_s, done)
            rows.insert(1, (f"  {own.start.phase}", phase, False))
        return Group(*([self._bars(rows)] if rows else []), *(self._detail(own) if own else ()))

    def _bars(self, rows: Sequence[tuple[str, Pace, bool]]) -> Table:
        width = self._console.width
        bar = 8 if width < 60 else min(24 + (width - 80) // 4 if width > 80 else 24, 60)
        label = Column(no_wrap=True, overflow="ellipsis", max_width=max(width - bar - 24, 12))
        table = Table.grid(Column(width=1), label, Column(width=bar), Column(no_wrap=True), Column(no_wrap=True),
                           padding=(0, 1, 0, 0))  # fmt: skip
        for text, pace, main in rows:
            left, total = pace.left_s, pace.total
            head = self._spinner.render(self._now_s()) if main or not self._method else ""
            line_ = ProgressBar(total, pace.done, width=bar, pulse=total is None, animation_time=self._now_s())
            count = f"{int(pace.done + 1e-9):,}/{total:,}" if total is not None else f"{int(pace.done):,}"
            count = "" if total is None and not pace.done else count
            spent = Text(clock(pace.elapsed_s), style="dim")
            time_ = spent if left is None else Text(f"{clock(left)} left", style="cyan")
            table.add_row(head, text, line_, count, "" if text.startswith("  ") else time_)
        return table

    def _detail(self, own: _Method) -> Iterator[Text]:
        """What goes on, what it has come to, and how the last round went; lines of whole pieces, indented."""
        start, report = own.start, own.report
        done = (
            ", averaging and testing"
            if own.share > 0.999
            else f", {100 * own.share:.0f} % trained"
            if own.share
            else ""
        )
        yield from self._packed(
            [f"{start.phase}: {start.stage}", f"round {start.round + 1}: {start.cohort} clients{done}"]
        )
        if report is not None:
            # the numbers of the cohort are those of the round that goes on, the sums those of the rounds before it
            spent = [flops(total)] if (total := report.totals.flops_forward + report.totals.flops_backward) else []
            moved = f"{megabytes(report.upload_bytes)} MB up, {megabytes(report.download_bytes)} MB down"
            yield from self._packed([f"simulated {duration(report.simulated_s)}", moved, *spent])
            yield from self._packed(self._curves(own))
            yield from self._packed(list(_last_round(report)))
        if len(self._methods) > 1 and start.method in self._methods:
            place = self._methods.index(start.method)
            to_come = ", ".join(self._methods[place + 1 :])
            text = f"method {place + 1} of {len(self._methods)}"
            yield from self._packed([text, *([f"to come: {to_come}"] if to_come else [])])

    def _curves(self, own: _Method) -> list[str]:
        width = 12 if self._console.width < 100 else 24
        return [
            f"{name} {sparkline(values, width, blocks=self._blocks)} {values[-1]:.{3 if name == 'loss' else 4}f}"
            for name, values in own.curves.items()
        ]

    def _packed(self, pieces: Sequence[str]) -> Iterator[Text]:
        """As few lines as they fit into; a piece that is too long by itself is cut."""
        width, rows = self._console.width, list[str]()
        for piece in pieces:
            if rows and cell_len(rows[-1]) + 3 + cell_len(piece) <= width:
                rows[-1] += f" | {piece}"
            else:
                rows.append(f"  {piece}")
        return (Text(row, style="dim", no_wrap=True, overflow="ellipsis") for row in rows)


def _last_round(report: RoundReport) -> Iterator[str]:
    """Who came back in the round before, who did not and why, and how much of the hosts was used."""
    lost: dict[str, int] = {}
    for (_, outcome), count in report.outcomes.items():
        if outcome != "completed":
            lost[outcome] = lost.get(outcome, 0) + count
    parts = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(lost.items())]
    yield f"round {report.round}: {', '.join([f'{report.completed} of {report.cohort} arrived', *parts])}"
    if report.hosts and report.seconds > 0:
        yield f"{report.hosts} {'host' if report.hosts == 1 else 'hosts'}, {100 * report.utilisation:.0f} % busy"
