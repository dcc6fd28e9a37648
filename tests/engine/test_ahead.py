import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fedsim.engine.ahead import Ahead
from fedsim.engine.inline import InlineEngine
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from tests.runs import Wrapped

PATIENCE_S = 60.0


class Noted(Silent):
    def __init__(self) -> None:
        self.labels: list[str] = []
        self.waiting = threading.Event()

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        self.labels.append(label)
        self.waiting.set()
        yield lambda steps: None


class Closed(Wrapped):
    def __init__(self) -> None:
        super().__init__(InlineEngine())
        self.begun_in = threading.current_thread()
        self.alive_at_the_end: bool | None = None

    def close(self) -> None:
        self.alive_at_the_end = self.begun_in.is_alive()
        super().close()


def test_who_wants_something_of_an_engine_that_starts_waits_for_it() -> None:
    go, told = threading.Event(), Noted()

    def start() -> InlineEngine:
        assert told.waiting.wait(PATIENCE_S), "nobody waits"
        assert go.wait(PATIENCE_S)
        return InlineEngine()

    with Ahead(start, "starting", told) as engine:
        assert told.labels == []  # going on with other things is no waiting
        go.set()
        assert engine.hosts == 1
        assert engine.events() == []
        assert list(engine.run([], "nothing")) == []
        assert told.labels == ["starting"]


def test_the_thread_that_has_started_an_engine_lives_as_long_as_the_engine() -> None:
    made: list[Closed] = []

    def start() -> Closed:
        made.append(Closed())
        return made[0]

    with Ahead(start, "starting", Silent()) as engine:
        assert engine.hosts == 1
    assert made[0].alive_at_the_end, "what it has begun ends with it"
    made[0].begun_in.join(PATIENCE_S)
    assert not made[0].begun_in.is_alive()


def test_what_fails_in_the_start_is_raised_where_the_engine_is_wanted() -> None:
    def start() -> InlineEngine:
        raise UserError("no such cluster", key="engine.address")

    with Ahead(start, "starting", Silent()) as engine, pytest.raises(UserError, match="no such cluster"):
        engine.publish("group", 0, None)  # type: ignore[arg-type]


def test_an_engine_that_nobody_wanted_is_closed_when_it_is_there() -> None:
    go, made = threading.Event(), list[Closed]()

    def start() -> Closed:
        assert go.wait(PATIENCE_S)
        made.append(Closed())
        return made[0]

    engine = Ahead(start, "starting", Silent())
    threading.Timer(0.05, go.set).start()
    engine.close()
    assert made[0].alive_at_the_end
