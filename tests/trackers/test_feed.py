"""Trackers in runs: told everything once, whatever stops the run, and loud when they cannot be had."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedsim.cost.memory import Polynomial
from fedsim.errors import FedsimError, UserError
from fedsim.observe.observer import RoundReport, Silent
from fedsim.telling import Teller
from fedsim.trackers import feed
from fedsim.trackers.base import Row, Status, Subject, Value
from tests.command import Desk, desk
from tests.runs import pretend_memory, resume, run, small, write_texts
from tests.trackers.subjects import history

METHODS: dict[str, dict[str, Any]] = {"fedavg": {}, "fedbt": {}}
ALL = ["tensorboard", "mlflow", "wandb"]


class Book:
    """A tracker that remembers."""

    PACKAGES = ("json",)

    def __init__(self) -> None:
        self.id = "page-7"
        self.opened: list[tuple[str, str | None]] = []
        self.rows: list[tuple[str, Row]] = []
        self.ended: list[tuple[str, Status, bool]] = []
        self.fails_at: int | None = None
        self._method = ""

    @property
    def rounds(self) -> list[tuple[str, int]]:
        return [(method, one.round) for method, one in self.rows]

    def where(self, folder: Path) -> str:
        return "a book"

    def open_session(self, subject: Subject, known: str | None) -> "Book":
        self.opened.append((subject.method, known))
        page = Book()
        page.rows, page.ended, page._method, page.fails_at = self.rows, self.ended, subject.method, self.fails_at
        return page

    def log(self, rows: Sequence[Row]) -> None:
        for one in rows:
            if one.round == self.fails_at:
                raise OSError("no more ink")
            self.rows.append((self._method, one))

    def end(self, status: Status, summary: Mapping[str, Value]) -> None:
        self.ended.append((self._method, status, bool(summary)))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pretend_memory(monkeypatch, lambda shape, optimizer: Polynomial(constant=2_000))
    monkeypatch.setattr(feed, "BATCH_S", 0.01)
    write_texts(tmp_path)
    return tmp_path


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    made = Book()
    monkeypatch.setattr(feed, "_tracker", lambda name: made)
    return made


class Stopping(Silent):
    """Stops a run after so many rounds."""

    def __init__(self, rounds: int, error: BaseException) -> None:
        self._left, self._error = rounds, error

    def round(self, report: RoundReport) -> None:
        self._left -= 1
        if not self._left:
            raise self._error


def scenario(*trackers: str) -> dict[str, Any]:
    return small(METHODS, outputs__trackers=list(trackers))


def everything() -> list[tuple[str, int]]:
    return [(method, round_) for method in METHODS for round_ in range(5)]


def test_every_round_is_told_once_in_order(world: Path, book: Book) -> None:
    run(scenario("mlflow"), world, world / "run", None)
    assert book.rounds == everything()
    assert book.opened == [("fedavg", None), ("fedbt", None)]
    assert book.ended == [("fedavg", "finished", True), ("fedbt", "finished", True)]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "stopped"), (ValueError("x"), "failed")])
def test_a_run_that_goes_on_is_reported_where_it_was(
    world: Path, book: Book, error: BaseException, status: Status
) -> None:
    with pytest.raises(type(error)):
        run(scenario("mlflow"), world, world / "run", None, observer=Stopping(7, error))
    assert book.rounds == everything()[:7]
    assert book.ended == [("fedavg", "finished", True), ("fedbt", status, False)]
    resume(world / "run", None)
    assert book.rounds == everything()
    assert book.opened[-1] == ("fedbt", "page-7")
    assert book.ended[-1] == ("fedbt", "finished", True)


def test_a_tracker_that_fails_stops_the_run_and_gets_the_rest_later(world: Path, book: Book) -> None:
    book.fails_at = 3
    with pytest.raises(FedsimError, match="tracker mlflow failed: OSError: no more ink"):
        run(scenario("mlflow"), world, world / "run", None)
    assert book.rounds == everything()[:3]
    book.fails_at = None
    resume(world / "run", None)
    ended = json.loads((world / "run" / "run.json").read_text())["methods"]
    assert set(ended) == set(METHODS)
    # of a method that has ended by the time that the failure is noticed nothing more is told
    assert [entry for entry in book.rounds if entry[0] == "fedbt"] == everything()[5:]


def test_rounds_that_nobody_was_told_of_come_from_the_trace(
    world: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scenario("mlflow"), world, world / "whole", None)
    whole = {(method, one.round): one for method, one in book.rows}
    book.rows.clear()
    report = Teller.end
    monkeypatch.setattr(Teller, "end", interrupted(8))
    with pytest.raises(KeyboardInterrupt):
        run(scenario("mlflow"), world, world / "run", None)
    monkeypatch.setattr(Teller, "end", report)
    resume(world / "run", None)
    assert [(method, one.round) for method, one in book.rows] == everything()
    real = {"round/real_s", "round/host_utilisation"}
    for method, one in book.rows:
        expected = whole[method, one.round]
        assert {k: v for k, v in one.all.items() if k not in real} == pytest.approx(
            {k: v for k, v in expected.all.items() if k not in real}
        )


def interrupted(rounds: int) -> Any:
    """Ctrl-C came while the last of so many rounds was written."""
    told, report = [0], Teller.end

    def stop(self: Teller, *numbers: Any) -> None:
        told[0] += 1
        if told[0] == rounds:
            raise KeyboardInterrupt
        report(self, *numbers)

    return stop


def test_no_package_no_run(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(feed, "find_spec", lambda name: None if name == "sqlalchemy" else object())
    with pytest.raises(UserError, match=r"outputs.trackers: mlflow needs .* pip install 'fedsim-ray\[mlflow\]'"):
        run(scenario("tensorboard", "mlflow"), world, world / "run", None)
    assert not (world / "run").exists()
    work: Desk = desk(world, capsys, monkeypatch)
    before = work.content()
    ended = work.run("scenario", "mine.yaml", "--price", "--set", "outputs.trackers=[mlflow]")
    assert (ended.code, ended.out) == (2, "")
    assert "fedsim-ray[mlflow]" in ended.err
    assert work.content() == before


@pytest.mark.parametrize("trackers", [["tensorflow"], ["wandb", "wandb"]])
def test_unknown_and_repeated_trackers_are_refused(trackers: list[str], world: Path) -> None:
    with pytest.raises(ValueError, match="trackers"):
        run(scenario(*trackers), world, world / "run", None)


@pytest.mark.slow
def test_all_trackers_have_the_numbers_of_the_trace(world: Path) -> None:
    folder = world / "run"
    raw = small({"fedavg": {}}, outputs__trackers=ALL)
    with pytest.raises(KeyboardInterrupt):
        run(raw, world, folder, None, observer=Stopping(3, KeyboardInterrupt()))
    summary = resume(folder, None)["methods"]
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow/mlflow.db")
    state = json.loads((folder / feed.STATE).read_text())
    wandb = history(folder)
    for method in summary:
        events = EventAccumulator(str(folder / "tensorboard" / method))
        events.Reload()
        stored = client.get_metric_history(state["mlflow"][method]["id"], "so_far/upload_bytes")
        tables = [
            [(event.step, event.value) for event in events.Scalars("so_far/upload_bytes")],
            [(metric.step, metric.value) for metric in stored],
            [(row["round"], row["so_far/upload_bytes"]) for row in wandb[f"run/{method}"]],
        ]
        assert [step for step, _ in tables[1]] == [0, 1, 2, 3, 4]
        assert [value for _, value in tables[1]] == [value for _, value in tables[2]]
        assert tables[1][-1][1] == summary[method]["upload_bytes"]
        assert [step for step, _ in tables[0]] == [step for step, _ in tables[1]] == [step for step, _ in tables[2]]
        assert tables[0][-1][1] == pytest.approx(summary[method]["upload_bytes"], rel=1e-7)  # TensorBoard has float32
