"""An engine that starts while the driver prepares the data."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Self

from fedsim.engine.base import Engine
from fedsim.engine.tasks import Result, Task
from fedsim.model.layout import FloatArray
from fedsim.observe.observer import Observer


class Ahead:
    """Stands for an engine from the moment its start begins; whoever wants something of it waits until it is there.

    What fails in the start is raised there, too.
    """

    def __init__(self, start: Callable[[], Engine], label: str, observer: Observer) -> None:
        """Begin.

        Args:
            start: makes the engine; it runs in a thread of its own.
            label: what is waited for.
            observer: told of it where somebody waits.
        """
        self._label, self._observer = label, observer
        self._started: Future[Engine] = Future()
        self._over = threading.Event()
        threading.Thread(target=self._start, args=(start,), name="start of the engine", daemon=True).start()

    def _start(self, start: Callable[[], Engine]) -> None:
        try:
            self._started.set_result(start())
        except BaseException as error:
            self._started.set_exception(error)
        else:
            # processes that it has started, as Ray's are, are told to end with the thread that began them
            self._over.wait()

    def _engine(self) -> Engine:
        if self._started.done():
            return self._started.result()
        with self._observer.task(self._label, None):
            return self._started.result()

    @property
    def hosts(self) -> int:
        """As the engine's."""
        return self._engine().hosts

    @property
    def published_bytes(self) -> int:
        """As the engine's."""
        return self._engine().published_bytes

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        """As the engine's."""
        self._engine().publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """As the engine's."""
        yield from self._engine().run(tasks, label)

    def events(self) -> list[tuple[str, str]]:
        """As the engine's."""
        return self._engine().events()

    def close(self) -> None:
        """Let go of everything, also of what is still on its way; what never started needs no end."""
        if self._started.exception() is None:
            self._started.result().close()
        self._over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
