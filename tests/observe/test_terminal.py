import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from fedsim.observe.lines import Lines
from fedsim.observe.observer import RoundReport, RoundStart
from fedsim.observe.terminal import Board, observer_on
from fedsim.totals import Totals
from tests.observe.test_lines import REPORT, START, again


class Screen:
    """A live view on a terminal that is only a text; time stands still but for `pass_s`."""

    def __init__(self, width: int, methods: tuple[str, ...] = ()) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=width, force_terminal=True, color_system=None)
        self.now_s = 1000.0
        self.bars = Board(self.console, methods, lambda: self.now_s)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    def live(self) -> list[str]:
        """The live part as it would be drawn now."""
        with self.console.capture() as captured:
            self.console.print(self.bars.view())
        return captured.get().splitlines()


@pytest.fixture(params=[110, 40])
def screen(request: pytest.FixtureRequest) -> Screen:
    return Screen(request.param)


def test_a_round_shows_all_that_matters(screen: Screen) -> None:
    bars = screen.bars
    bars.begin(START)
    bars.round(REPORT)
    bars.begin(START)
    screen.pass_s(10)
    bars.trained(0.5)
    text = " ".join(" ".join(screen.live()).split())
    for piece in (
        "fedbt",
        "5/40",
        "finetune: layers 2-3, head",
        "round 5: 6 clients, 50 % trained",
        "simulated 2.2 min",
        "1.6 MB up, 4,700 MB down",
        "loss ▅ 1.364",
    ):
        assert piece in text
    assert all(len(row) <= screen.console.width for row in screen.live())


def test_the_time_left_goes_by_the_pace_of_this_session(screen: Screen) -> None:
    bars = screen.bars
    bars.begin(START)  # four rounds of forty were finished by an earlier session
    assert "4/40 0:00" in " ".join(screen.live()[0].split())
    for round_ in (5, 6):
        screen.pass_s(30)
        bars.round(again(round_))
        bars.begin(START)
    assert screen.live()[0].rstrip().endswith("6/40 17:00 left")
    screen.pass_s(10)
    assert screen.live()[0].rstrip().endswith("6/40 16:50 left")
    screen.pass_s(10_000)
    assert screen.live()[0].rstrip().endswith("6/40 0:00 left")


def test_evaluated_and_last_rounds_leave_a_line(screen: Screen) -> None:
    for round_ in range(37, 41):
        screen.bars.begin(START)
        screen.bars.round(again(round_, finetune__accuracy=0.5) if round_ == 38 else again(round_))
    left = " ".join(screen.file.getvalue().split())
    assert [left.count(f"fedbt {n}/40") for n in range(37, 41)] == [0, 1, 0, 1]
    assert screen.live() == []


def test_quick_steps_are_not_shown(screen: Screen) -> None:
    with screen.bars.task("central pre-training, 2000 steps", None):
        assert screen.live() == []
        screen.pass_s(65)
        (row,) = screen.live()
        assert "central pre" in row
        assert row.rstrip().endswith(" 1:05")
    assert screen.live() == []


def test_steps_of_known_length_tell_how_far_they_are(screen: Screen) -> None:
    with screen.bars.task("reading", 3500) as advance:
        screen.pass_s(10)
        advance(700)
        assert screen.live()[0].rstrip().endswith("700/3,500 0:40 left")


def test_a_failed_step_goes_away(screen: Screen) -> None:
    with pytest.raises(ZeroDivisionError), screen.bars.task("reading", None):
        raise ZeroDivisionError
    screen.pass_s(5)
    assert screen.live() == []


LATE = RoundReport(
    **{
        **vars(REPORT),
        "totals": Totals(flops_forward=10**9, flops_backward=2 * 10**9),
        "outcomes": {
            ("phone", "completed"): 5,
            ("phone", "late"): 2,
            ("board", "late"): 1,
            ("board", "out_of_memory"): 1,
        },
        "cohort": 9,
        "seconds": 4.0,
        "hosts": 2,
        "busy_s": 6.0,
    }
)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_stragglers_hosts_phase_and_what_is_to_come(width: int) -> None:
    screen = Screen(width, ("fedavg", "fedbt", "progfed"))
    start = RoundStart(**{**vars(START), "phase_first": 2, "phase_rounds": 20})
    screen.bars.begin(start)
    for accuracy in (0.2, 0.4, 0.9):
        screen.bars.round(
            RoundReport(**{**vars(LATE), "quality": {"finetune/accuracy": accuracy, "other/accuracy": 0.0}})
        )
        screen.bars.begin(start)
    rows = screen.live()
    assert all(len(row) <= width for row in rows)
    text = " ".join(" ".join(rows).split())
    for piece in (
        "accuracy ▁▃█ 0.9000",
        "3.00 GFLOP",
        "5/20",
        "method 2 of 3",
        "to come: progfed",
        "2 hosts, 75 % busy",
    ):
        assert piece in text
    if width >= 80:
        assert "round 5: 5 of 9 arrived, 3 late, 1 out of memory" in text
    else:
        assert "round 5: 5 of 9 arrived, 3 late" in text


def test_another_phase_has_curves_of_its_own(screen: Screen) -> None:
    screen.bars.begin(START)
    screen.bars.round(REPORT)
    screen.bars.begin(RoundStart(**{**vars(START), "phase": "other"}))
    assert "loss ▅" not in " ".join(screen.live())


def test_the_view_follows_the_width_of_the_terminal() -> None:
    screen = Screen(200)
    screen.bars.begin(START)
    screen.bars.round(LATE)
    screen.bars.begin(START)
    for width in (200, 60, 30, 120):
        screen.console.width = width
        assert max(len(row) for row in screen.live()) <= width


def test_the_cursor_comes_back_whatever_ends_the_run() -> None:
    for error in (KeyboardInterrupt, ValueError):
        screen = Screen(80)
        screen.bars.begin(START)
        with pytest.raises(error), screen.bars:
            raise error
        drawn = screen.file.getvalue()
        assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
        assert drawn.rindex("\x1b[2K") > drawn.rindex("fedbt")  # the last frame is wiped


def test_a_round_costs_the_run_next_to_nothing() -> None:
    screen = Screen(80)
    drawn: list[object] = []
    screen.console.print = lambda *text, **options: drawn.append(text)  # type: ignore[method-assign]
    for round_ in range(5, 40):
        screen.bars.begin(START)
        screen.bars.round(again(round_))
    assert drawn == []  # what is drawn, the live view's own thread draws


@contextmanager
def terminal() -> Iterator[TextIO]:
    """The program's side of a pseudo-terminal."""
    ours, theirs = os.openpty()
    try:
        with os.fdopen(theirs, "w") as file:
            yield file
    finally:
        os.close(ours)


def test_files_and_dumb_terminals_get_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        assert isinstance(observer_on(Console(file=file)), Lines)
        assert isinstance(observer_on(Console(file=file, force_terminal=True)), Lines)
    monkeypatch.setenv("TERM", "dumb")
    with terminal() as file:
        assert isinstance(observer_on(Console(file=file)), Lines)
    monkeypatch.setenv("TERM", "xterm")
    with terminal() as file:
        assert isinstance(observer_on(Console(file=file)), Board)
