"""A pool of Ray host actors: about one a core, each with one torch thread, reused for every block of a run."""

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fedsim.engine.base import kept
from fedsim.engine.host_actor import Arrival, HostActor
from fedsim.engine.ray_log import gather
from fedsim.engine.ray_start import initialise
from fedsim.engine.shared import check
from fedsim.engine.tasks import Result, Task, TrainBlock
from fedsim.errors import FedsimError, UserError
from fedsim.model.layout import FloatArray

PENDING_PER_HOST = 2
"""Tasks given to a host at a time: one to work on and one to go on with."""
PATIENCE_S = 30.0
"""Silence after which a cluster that gives no host is told of."""
ALONE_BYTES = 2**23
"""Length from which a group is an object of its own, and not held in the store by another that is still wanted."""
ATTEMPTS = 3
"""Times a task is tried before a dying host is taken for the task's fault."""


class RayEngine:
    """A pool of hosts on a cluster that is started here or was running already."""

    def __init__(
        self,
        hosts: int | None = None,
        address: str | None = None,
        device: str = "cpu",
        precision: str = "float32",
        gpus_per_host: float = 0.0,
        tell: Callable[[str], None] = lambda text: None,
        job: Mapping[str, str] | None = None,
        dashboard: bool = True,
        log: Path | None = None,
        shared: Sequence[Path] = (),
        threads: int = 1,
    ) -> None:
        """Start or join a cluster and ask it for hosts.

        Args:
            hosts: how many; None: as many as there are cores for, or as fit the GPUs.
            address: a running cluster; None: start one.
            device: `cpu` or `cuda`.
            precision: `float32` or `bfloat16`.
            gpus_per_host: share of a GPU for each host.
            tell: told what a user who waits wants to know.
            job: what the run is, for Ray's job table; `job_name` goes into the names of the hosts, too.
            dashboard: start Ray's dashboard with the cluster, where one is started.
            log: where to keep what the hosts have written, once they have ended; of a cluster that is started here.
            shared: folders that all nodes of the cluster must see.
            threads: cores of each host.

        Raises:
            UserError: no such cluster, it can never have so many hosts or does not share the folders, or Ray has no
                dashboard.
        """
        import ray

        self._ray: Any = ray
        self._started_here = not ray.is_initialized()
        if self._started_here:
            initialise(ray, (hosts or 0) * threads, address, job or {}, dashboard)
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        gpus = float(self._ray.cluster_resources().get("GPU", 0))
        if device == "cuda" and gpus < gpus_per_host:
            raise UserError(f"the cluster has {gpus:g} GPUs, a host asks for {gpus_per_host:g}", key="engine.device")
        self.hosts = hosts or (int(gpus / gpus_per_host) if device == "cuda" else max(1, cores // threads))
        if self.hosts * threads > cores:
            each = f" of {threads} threads" if threads > 1 else ""
            raise UserError(f"{self.hosts} hosts{each} asked for, the cluster has {cores} cores", key="engine.hosts")
        actor = ray.remote(HostActor)
        # another pool of this process may be open, or be going away
        mark = uuid.uuid4().hex[:6]
        run = (job or {}).get("job_name", "fedsim")
        self._actors: list[Any] = [
            actor.options(
                name=f"{run} host {i + 1} of {self.hosts} ({mark})",
                num_cpus=threads,
                num_gpus=gpus_per_host if device == "cuda" else 0,
                max_concurrency=PENDING_PER_HOST,
                max_restarts=-1,
                max_task_retries=0,
                scheduling_strategy="SPREAD",  # over the nodes
            ).remote(i + 1, self.hosts, device, precision, threads)
            for i in range(self.hosts)
        ]
        self.dashboard: str = ray.worker.get_dashboard_url() or ""
        self._log = log
        self._groups: dict[str, dict[int, tuple[Any, int]]] = {}
        """By name and version, the object that holds it, and the length of that."""
        self._fresh: dict[str, tuple[int, FloatArray]] = {}
        """Published, but not yet in the object store."""
        self._down: dict[int, Any] = {}
        self._lost = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectLostError)
        self._events: list[tuple[str, str]] = []
        self._tell = tell
        self._asked_s = time.time()
        self._arriving = [actor.arrive.options(name="hosts/arrive").remote() for actor in self._actors]
        self._expected = dict(zip(self._arriving, range(1, self.hosts + 1), strict=True))
        try:
            check(ray, shared)
        except UserError:
            self.close()
            raise

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        """Have the group put into the object store before the next task; earlier ones go, but for those to keep."""
        if name in self._fresh and self._fresh[name][0] in keep:
            self._put()
        self._groups[name] = kept(self._groups.get(name, {}), keep)
        self._fresh[name] = version, values

    def _put(self) -> None:
        """Put what is published since the last time into the object store: small groups all in one object."""
        together = [name for name, (_, values) in self._fresh.items() if values.nbytes < ALONE_BYTES]
        alone = [[name] for name in self._fresh if name not in together]
        for names in filter(None, (*alone, together)):
            bundle = {name: self._fresh[name][1] for name in names}
            held = self._ray.put(bundle), sum(values.nbytes for values in bundle.values())
            for name in names:
                self._groups[name][self._fresh[name][0]] = held
        self._fresh.clear()

    @property
    def published_bytes(self) -> int:
        """What the published groups take of the object store."""
        stored = dict(held for versions in self._groups.values() for held in versions.values())
        return sum(stored.values()) + sum(values.nbytes for _, values in self._fresh.values())

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        """Longest first, to whichever host has room; a task whose host dies is given out again, with the same bits."""
        ray = self._ray
        self._put()
        waiting = sorted(tasks, key=lambda task: (task.cost, -task.index))
        room = {host: 0 if host in self._down else PENDING_PER_HOST for host in range(self.hosts)}
        tries: dict[int, int] = {}
        pending: dict[Any, tuple[Task, int]] = {}
        while waiting or pending:
            while waiting and any(room.values()):
                task, host = waiting.pop(), max(room, key=lambda i: (room[i], -i))
                room[host] -= 1
                tries[task.index] = tries.get(task.index, 0) + 1
                references = {name: (version, self._groups[name][version][0]) for name, version in task.groups.items()}
                pending[self._actors[host].run.options(name=label).remote(task, references)] = (task, host)
            done = self._next([*pending, *self._down.values()])
            if done not in pending:
                room[self._welcome(done)] = PENDING_PER_HOST
                continue
            task, host = pending.pop(done)
            try:
                result = ray.get(done)
            except self._lost as error:
                self._died(task, host, tries[task.index], error)
                waiting.append(task)
                room[host] = 0
                self._down.setdefault(host, self._ask(host))
                continue
            except ray.exceptions.RayTaskError as error:
                raise FedsimError(f"{label} failed on host {host + 1}: {error.cause!r}") from error.cause
            room[host] += host not in self._down
            yield result

    def _next(self, references: list[Any]) -> Any:
        """The first that is there; a cluster that has no core for a first host is told of."""
        while not self._ray.wait(self._arriving, num_returns=1, timeout=PATIENCE_S)[0]:
            free = self._ray.available_resources().get("CPU", 0.0)
            self._tell(f"still waiting for a host: each needs a core, and the cluster has {free:g} free")
        (done,), _ = self._ray.wait(references, num_returns=1)
        return done

    def _ask(self, host: int) -> Any:
        """A question that a dead host answers, with its process id, when it is back."""
        return self._actors[host].arrive.options(name="hosts/return", max_task_retries=-1).remote()

    def _welcome(self, answer: Any) -> int:
        """The host that has answered and may be given tasks again."""
        host = next(host for host, question in self._down.items() if question == answer)
        try:
            self._ray.get(answer)
        except self._lost as error:  # Ray itself has tried to restart it; the cause stands below its traceback
            cause = str(error).strip().splitlines()[-1]
            raise FedsimError(f"host {host + 1} died and cannot be started again: {cause}") from error
        del self._down[host]
        return host

    def _died(self, task: Task, host: int, attempt: int, error: Exception) -> None:
        cause = str(error).strip().splitlines()[0]
        who = ""
        if isinstance(task, TrainBlock):
            names = ", ".join(str(work.client) for work in task.clients)
            who = f" (clients {names}; {task.method}, stage {task.stage}, round {task.round})"
        self._events.append(
            ("host_died", f"host {host + 1} died on task {task.index}{who}, attempt {attempt}: {cause}")
        )
        if attempt >= ATTEMPTS:
            raise FedsimError(
                f"a task{who} killed its host {attempt} times: {cause.rstrip('.')}. If memory is short, use fewer "
                "engine.hosts or a smaller local.batch_samples."
            )

    def processes(self) -> list[int]:
        """Process ids of the hosts."""
        arrivals: list[Arrival] = self._ray.get([self._ask(host) for host in range(self.hosts)])
        return [arrival.process for arrival in arrivals]

    def events(self) -> list[tuple[str, str]]:
        """What happened to hosts since the last call."""
        events, self._events = [*self._arrivals(), *self._events], []
        return events

    def _arrivals(self) -> Iterator[tuple[str, str]]:
        """Hosts that have come since the last call, and how long that took."""
        come, _ = self._ray.wait(list(self._expected), num_returns=len(self._expected), timeout=0)
        for reference in come if self._expected else ():
            host = self._expected.pop(reference)
            try:
                one: Arrival = self._ray.get(reference)
            except self._lost:
                continue  # that it died is told where its task was
            yield (
                "host_ready",
                f"host {host} was ready {max(0.0, one.at_s - self._asked_s):.1f} s after it was asked for; "
                f"its imports took {one.import_s:.1f} s, and {one.import_cpu_s:.1f} s of a core",
            )

    def close(self) -> None:
        """End the hosts, and the cluster if it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        self._groups.clear()
        self._fresh.clear()
        self._down.clear()
        if self._started_here and self._ray.is_initialized():
            folder = Path(self._ray._private.worker._global_node.get_logs_dir_path())
            self._ray.shutdown()
            if self._log is not None:
                gather(folder, self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
