"""Hands finished rounds to trackers, on a thread of its own, so that no round waits for a database or a network."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from fedsim.errors import FedsimError, UserError
from fedsim.observe.observer import Observer, RoundReport, Several, Silent
from fedsim.run_folder import SUMMARY, read_json
from fedsim.scenario.schema import Scenario
from fedsim.store import atomic
from fedsim.trackers.backfill import missing
from fedsim.trackers.base import Row, Session, Status, Subject, Tracker, flat_summary, parameters, row

BATCH_S = 1.0
"""Rounds of so much real time are handed over together."""
MOST_WAITING = 10_000
"""Rounds that may wait; a run that plays more than trackers can take is slowed down to their pace."""
STATE = "trackers.json"
"""In the run's folder: what trackers know it by, and how many rounds of it they have."""


def check(names: Sequence[str]) -> None:
    """The packages of these trackers are installed.

    Raises:
        UserError: one is not; says how to get it.
    """
    for name in names:
        for package in _tracker(name).PACKAGES:
            if find_spec(package) is None:
                fault = f"{name} needs the package {package}: pip install 'fedsim-ray[{name}]', or leave it out"
                raise UserError(fault, key="outputs.trackers")


@contextmanager
def tracked(scenario: Scenario, folder: Path, observer: Observer) -> Iterator[Observer]:
    """An observer that tells the scenario's trackers too; where there are none it is the same one.

    Raises:
        FedsimError: a tracker failed. The rounds are in the run's folder; going on reports those that it lacks.
    """
    names = scenario.outputs.trackers
    if not names:
        yield observer
        return
    for name in names:
        observer.note(f"{name}: {_tracker(name).where(folder)}")
    feed = Feed(scenario, folder)
    status: Status = "failed"
    try:
        yield Several([feed, observer])
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        fault = feed.close(status)
        if fault is not None and status != "finished":
            observer.note(str(fault))  # what has ended the run is told as its error
    if fault is not None:
        raise fault


class Feed(Silent):
    """An observer that only notes rounds down, and the thread that reports them."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self._names, self._folder = scenario.outputs.trackers, folder
        self._scenario = scenario.model_dump(mode="json")
        self._state: dict[str, dict[str, Any]] = read_json(folder / STATE) if (folder / STATE).is_file() else {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._waiting: queue.Queue[tuple[str, Row]] = queue.Queue(MOST_WAITING)
        self._over = threading.Event()
        self._fault: FedsimError | None = None
        self._thread = threading.Thread(target=self._report, name="trackers", daemon=True)
        self._thread.start()

    def round(self, report: RoundReport) -> None:
        """Leave its numbers for the thread.

        Raises:
            FedsimError: a tracker has failed meanwhile.
        """
        item = (report.method, row(report, time.time()))
        while self._fault is None:
            try:
                self._waiting.put(item, timeout=1.0)
                return
            except queue.Full:
                continue
        raise self._fault

    def close(self, status: Status) -> FedsimError | None:
        """Report what is left, and how each method ended; returns what went wrong in all of this."""
        self._over.set()
        self._thread.join()
        if self._fault is None:
            self._attempt(self._end, status)
        return self._fault

    def _report(self) -> None:
        while self._fault is None and not (self._over.is_set() and self._waiting.empty()):
            self._over.wait(BATCH_S)
            found = []
            while not self._waiting.empty():
                found.append(self._waiting.get())
            for method, rows in groupby(found, lambda item: item[0]):
                self._attempt(self._log, method, [one for _, one in rows])

    def _attempt(self, step: Any, *what: Any) -> None:
        """Do it for every tracker, until one fails."""
        for name in self._names:
            if self._fault is None:
                try:
                    step(name, *what)
                except Exception as error:
                    self._fault = FedsimError(f"tracker {name} failed: {type(error).__name__}: {error}")
                    self._fault.__cause__ = error

    def _log(self, name: str, method: str, rows: Sequence[Row]) -> None:
        known = self._state.setdefault(name, {}).setdefault(method, {"id": None, "rounds": 0})
        rows = [one for one in rows if one.round >= known["rounds"]]  # others were reported before the run stopped
        if not rows:
            return
        if (name, method) not in self._sessions:
            subject = Subject(self._folder, self._scenario["name"], method, parameters(self._scenario, method))
            self._sessions[name, method] = _tracker(name).open_session(subject, known["id"])
        session = self._sessions[name, method]
        if rows[0].round > known["rounds"]:
            rows = [*missing(self._folder, method, known["rounds"], rows[0].round), *rows]
        session.log(rows)
        known |= {"id": session.id, "rounds": rows[-1].round + 1}
        atomic.write_json(self._folder / STATE, self._state)

    def _end(self, name: str, status: Status) -> None:
        ended: Mapping[str, Any] = {}
        if (self._folder / SUMMARY).is_file():
            ended = read_json(self._folder / SUMMARY)["methods"]
        for (tracker, method), session in self._sessions.items():
            if tracker == name:
                summary = flat_summary(ended[method]) if method in ended else {}
                session.end("finished" if method in ended else status, summary)


def _tracker(name: str) -> Tracker:
    return cast(Tracker, import_module(f"fedsim.trackers.{name}"))
