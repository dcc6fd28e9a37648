"""Everything in this process: for debugging, small runs and machines without Ray."""

from collections.abc import Collection, Iterator, Sequence
from typing import Self

from fedsim.engine.base import kept
from fedsim.engine.tasks import Result, Task
from fedsim.errors import UserError
from fedsim.model.layout import FloatArray


class InlineEngine:
    """One host, called directly."""

    hosts = 1

    def __init__(self, device: str = "cpu", precision: str = "float32", threads: int = 1) -> None:
        import torch

        from fedsim.engine.host import Host

        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("is cuda, and torch finds no CUDA device here: use cpu", key="engine.device")
        # results differ in the last bit with the number of threads: every host has as many
        self._threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        self._host = Host("this process", device, precision)
        self._groups: dict[str, dict[int, FloatArray]] = {}

    @property
    def published_bytes(self) -> int:
        """Length of all groups that tasks can ask for."""
        return sum(values.nbytes for versions in self._groups.values() for values in versions.values())

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        """Hold the group until a task asks for it."""
        self._groups[name] = {**kept(self._groups.get(name, {}), keep), version: values}

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """Run the tasks one after another."""
        for task in tasks:
            for name in self._host.missing(task):
                version = task.groups[name]
                self._host.receive(name, version, self._groups[name][version])
            yield self._host.run(task)

    def events(self) -> list[tuple[str, str]]:
        """Nothing happens to a process that runs."""
        return []

    def close(self) -> None:
        """Give torch its threads back."""
        import torch

        torch.set_num_threads(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
