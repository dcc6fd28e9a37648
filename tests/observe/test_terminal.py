import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from fedsim.observe.lines import Lines
from fedsim.observe.terminal import Bars, observer_on
from tests.observe.test_lines import REPORT, START, again


class Screen:
    """Bars on a terminal that is only a text; time stands still but for `pass_s`."""

    def __init__(self, width: int) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=width, force_terminal=True, color_system=None)
        self.now_s = 1000.0
        self.bars = Bars(self.console, lambda: self.now_s)

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
        "loss 1.364",
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
        assert isinstance(observer_on(Console(file=file)), Bars)
