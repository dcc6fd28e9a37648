from types import SimpleNamespace
from typing import Any

import pytest

import fedsim
from fedsim.report.hosts import lines, use
from tests.command import Desk


def row(kind: str, wall_s: float, seconds: float = 0.0, text: str = "2 hosts") -> Any:
    return SimpleNamespace(kind=kind, wall_s=wall_s, seconds=seconds, text=text)


def test_busy_seconds_of_the_time_between_rounds_without_a_sittings_first_round() -> None:
    rows = [
        row("begun", 0.0),
        row("hosts busy", 9.9, 4.0),
        row("round", 10.0, 9.0),
        row("hosts busy", 14.9, 8.0),
        row("round", 15.0, 4.9),
        row("completed", 15.1),
        row("begun", 1000.0, text="1 host"),  # gone on with, long after
        row("hosts busy", 1009.9, 3.0, "1 host"),
        row("round", 1010.0, 9.0),
        row("hosts busy", 1014.9, 4.0, "1 host"),
        row("round", 1015.0, 4.0),
    ]
    found = use(rows)
    assert found == (1, 2, 10.0, 15.0, 12.0)
    assert found is not None
    assert found.share == 0.8
    assert str(found) == "1 host, 80 % busy; 5 s a round"


def test_one_round_says_nothing() -> None:
    assert use([row("begun", 0.0), row("hosts busy", 1.0, 1.0), row("round", 2.0)]) is None


def test_the_last_lines_of_a_run_and_show_tell_it(work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = work.run("scenario", "mine.yaml", "--engine", "inline", "--method", "fedavg", "--out", "run")
    (told,) = [line for line in ended.out.splitlines() if line.startswith("hosts: ")]
    assert told in work.run("show", "run").out
    assert told == lines(work.folder / "run", ["fedavg"])[0]
    events = fedsim.read_run(work.folder / "run").events
    busy = events[events.kind == "hosts busy"]
    rounds = events[events.kind == "round"]
    # the second round is not tested: its hosts have trained, and nothing else
    assert len(busy) == len(rounds) == 5
    assert (busy.seconds.to_numpy() <= rounds.wall_s.diff().fillna(1e9).to_numpy()).all()
    assert 0 < use(events.itertuples()).share <= 1  # type: ignore[union-attr]
