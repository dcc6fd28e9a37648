"""The seam between the driver and whatever does the work."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, Self, TypeVar

from fedsim.engine.tasks import Result, Task
from fedsim.model.layout import FloatArray

T = TypeVar("T")


class Engine(Protocol):
    """Runs tasks; each gives one result, in any order."""

    @property
    def hosts(self) -> int:
        """How many there are."""

    @property
    def published_bytes(self) -> int:
        """Length of all groups that are published, every version of them."""

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        """Make a group available to all hosts, in place of its earlier versions, but for those to keep."""

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """Run the tasks, longest first; `label` is how monitoring tools name them."""

    def events(self) -> list[tuple[str, str]]:
        """(kind, text) of what happened to hosts since the last call: deaths, retries."""

    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def kept(versions: Mapping[int, T], keep: Collection[int]) -> dict[int, T]:
    """Those of a group's published versions that somebody may still ask for."""
    return {version: values for version, values in versions.items() if version in keep}
