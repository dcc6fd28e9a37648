"""The seam between the driver and whatever does the work."""

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from fedsim.engine.tasks import Result, Task
from fedsim.model.layout import FloatArray


class Engine(Protocol):
    """Runs tasks; each gives one result, in any order."""

    hosts: int

    def publish(self, name: str, version: int, values: FloatArray) -> None:
        """Make a group available to all hosts, in place of its earlier version."""

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """Run the tasks, longest first; `label` is how monitoring tools name them."""

    def events(self) -> list[tuple[str, str]]:
        """(kind, text) of what happened to hosts since the last call: deaths, retries."""

    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
