"""What runs a host in a process of Ray's."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedsim.engine.tasks import CentralTask, EvaluateChunk, EvaluateClients, MeasureTask, Result, Task, TrainBlock

if TYPE_CHECKING:
    from fedsim.engine.host import Host


@dataclass(frozen=True)
class Arrival:
    """A host that is there."""

    process: int
    """Process id."""
    import_s: float
    """Importing torch and fedsim."""
    import_cpu_s: float
    """Processor time of that."""
    at_s: float
    """Seconds since 1970."""


class HostActor:
    """The actor around a host. Constructing it imports torch, so hosts warm up while the driver prepares."""

    def __init__(self, number: int, hosts: int, device: str, precision: str, threads: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self._label, self._task = f"Host {number} of {hosts}", ""
        # one thread does the tasks, so that another can unpack the next and hand over the last meanwhile
        self._worker = ThreadPoolExecutor(1)
        self._host = self._worker.submit(_host, self._label, device, precision, threads).result()
        imported = time.perf_counter() - wall, time.process_time() - cpu
        self._arrival = Arrival(os.getpid(), *imported, time.time())

    def __repr__(self) -> str:
        """Ray reads it when the host is ready, for its dashboard, and when a task fails, for the traceback."""
        return self._label + self._task

    def run(self, task: Task, references: Mapping[str, tuple[int, Any]]) -> Result:
        """Fetch the groups that changed, then do the task."""
        return self._worker.submit(self._run, task, references).result()

    def _run(self, task: Task, references: Mapping[str, tuple[int, Any]]) -> Result:
        import ray

        self._task = f": {describe(task)}"
        wanted = {name: references[name] for name in self._host.missing(task)}
        objects = list({reference for _, reference in wanted.values()})  # one may hold several groups
        bundles = dict(zip(objects, ray.get(objects), strict=True))
        for name, (version, reference) in wanted.items():
            self._host.receive(name, version, bundles[reference][name])
        result = self._host.run(task)
        self._task = ""  # not where the task fails: Ray's traceback names it
        return result

    def arrive(self) -> Arrival:
        """Who it is, and how long it took to be there."""
        return self._arrival


def _host(label: str, device: str, precision: str, threads: int) -> "Host":
    import torch

    torch.set_num_threads(threads)
    from fedsim.engine.host import Host

    return Host(label, device, precision)


def describe(task: Task) -> str:
    """What a host is doing."""
    if isinstance(task, TrainBlock):
        clients = f"{len(task.clients)} client{'' if len(task.clients) == 1 else 's'}"
        return f"{clients}, {task.method} stage {task.stage}, round {task.round}"
    return _DOING.get(type(task), type(task).__name__)


_DOING: dict[type[Task], str] = {
    EvaluateChunk: "testing",
    EvaluateClients: "testing clients on their own samples",
    CentralTask: "training on the server",
    MeasureTask: "measuring memory",
}
