"""Ray hosts: every task is done once, whatever happens to a host."""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from fedsim.engine.ray_pool import ALONE_BYTES, ATTEMPTS, RayEngine
from fedsim.engine.tasks import Task
from fedsim.errors import FedsimError, UserError
from fedsim.model.layout import FloatArray
from tests.engine.tasks import measure

Pools = Callable[[int], RayEngine]


class Poison:
    """Ends the process that reads it, as a task that needs too much memory does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def indices(engine: RayEngine, tasks: list[Task]) -> list[int]:
    return sorted(result.index for result in engine.run(tasks, "measure"))


@pytest.mark.slow
def test_every_task_once(pools: Pools) -> None:
    engine = pools(2)
    assert engine.hosts == 2
    results = list(engine.run([measure(index, cost=index % 3) for index in range(9)], "measure"))
    assert sorted(result.index for result in results) == list(range(9))
    assert {result.host for result in results} <= {"Host 1 of 2", "Host 2 of 2"}
    assert list(engine.run([], "nothing")) == []


@pytest.mark.slow
def test_the_longest_task_goes_first(pools: Pools) -> None:
    costs = [3.0, 9.0, 1.0, 9.0]
    results = list(pools(1).run([measure(index, cost=cost) for index, cost in enumerate(costs)], "measure"))
    found = [result.index for result in results]
    assert sorted(found) == [0, 1, 2, 3]
    # a host has two tasks at a time, and may begin with either
    assert found[0] in (1, 3)
    assert found[-1] in (0, 2)


def test_hosts_fetch_what_is_published(pools: Pools) -> None:
    engine = pools(2)
    engine.publish("group", 0, np.zeros(4, np.float32))
    assert indices(engine, [measure(index, group=0) for index in range(4)]) == [0, 1, 2, 3]
    engine.publish("group", 1, np.ones(4, np.float32))
    assert indices(engine, [measure(index, group=1) for index in range(4)]) == [0, 1, 2, 3]


@pytest.mark.slow
def test_small_groups_share_an_object_and_large_ones_do_not(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, put = pools(1), ray.put
    bundles: list[list[str]] = []
    lengths: list[int] = []
    list(engine.run([measure(0)], "measure"))
    before = engine.published_bytes  # of groups that other tests have published

    def counted(bundle: dict[str, FloatArray]) -> object:
        bundles.append(sorted(bundle))
        return put(bundle)

    monkeypatch.setattr(ray, "put", counted)
    large = np.zeros(ALONE_BYTES // 4, np.float32)
    for published in ({"a": 4, "b": 6, "c": 0}, {"a": 4}, {"b": 6}):
        for name, size in published.items():
            engine.publish(name, len(lengths), np.zeros(size, np.float32) if size else large)
        pending = engine.published_bytes
        list(engine.run([measure(0)], "measure"))
        assert engine.published_bytes == pending
        lengths.append(engine.published_bytes - before - large.nbytes)
    assert bundles == [["c"], ["a", "b"], ["a"], ["b"]]
    assert lengths == [40, 40 + 16, 16 + 24]  # the first object is held as long as one of its groups is wanted


@pytest.mark.slow
def test_a_version_that_is_to_be_kept_is_not_lost_before_it_is_stored(pools: Pools) -> None:
    engine = pools(1)
    engine.publish("group", 7, np.zeros(4, np.float32))
    engine.publish("group", 8, np.ones(4, np.float32), keep={7})
    assert indices(engine, [measure(0, group=7), measure(1, group=8)]) == [0, 1]


def test_an_error_on_a_host_names_the_work_and_the_cause(pools: Pools) -> None:
    nonsense = Task(0, 1.0, measure(0).shape, "", {})
    with pytest.raises(FedsimError, match=r"making nonsense failed on host \d: TypeError\('unknown task Task'\)"):
        list(pools(2).run([nonsense], "making nonsense"))
    assert indices(pools(2), [measure(0)]) == [0]


def test_more_hosts_than_cores_are_refused(ray_cluster: None) -> None:
    with pytest.raises(UserError, match=r"engine\.hosts: 500 hosts asked for, the cluster has 9 cores"):
        RayEngine(500)
    with pytest.raises(UserError, match=r"3 hosts of 4 threads asked for, the cluster has 9 cores"):
        RayEngine(3, threads=4)


@pytest.mark.slow
def test_a_dead_host_comes_back_and_nothing_is_lost(pools: Pools) -> None:
    engine = pools(2)
    engine.publish("group", 5, np.ones(4, np.float32))
    before = engine.processes()
    os.kill(before[0], signal.SIGKILL)
    for _ in range(3):  # while it is down, the other host does the work
        assert indices(engine, [measure(index, group=5) for index in range(6)]) == list(range(6))
    after = engine.processes()
    assert after[0] != before[0]
    assert after[1] == before[1]
    told = engine.events()
    assert {kind for kind, _ in told} <= {"host_ready", "host_died"}
    events = [(kind, text) for kind, text in told if kind == "host_died"]
    assert 1 <= len(events) <= 2  # at most what it had been given when it was found dead
    assert all(kind == "host_died" and text.startswith("host 1 died on task") for kind, text in events)
    assert engine.events() == []


@pytest.mark.slow
def test_a_task_that_kills_its_host_again_and_again_ends_the_run(ray_cluster: None) -> None:
    with RayEngine(2) as engine:
        deadly = replace(measure(0, cost=5.0), prefix=Poison())  # type: ignore[arg-type]
        with pytest.raises(FedsimError, match=f"killed its host {ATTEMPTS} times: .*fewer engine.hosts"):
            list(engine.run([deadly, measure(1)], "deadly"))
        told = [text for _, text in engine.events() if "task 0" in text]
        assert [re.findall(r"attempt (\d)", text) for text in told] == [["1"], ["2"], ["3"]]


@pytest.mark.slow
def test_a_host_that_cannot_start_says_why(ray_cluster: None) -> None:
    with (
        RayEngine(1, device="nonsense") as engine,
        pytest.raises(FedsimError, match=r"host 1 died and cannot be started again: RuntimeError: .*nonsense"),
    ):
        list(engine.run([measure(0)], "measure"))


@pytest.mark.slow
def test_closing_ends_the_hosts_and_leaves_the_cluster(ray_cluster: None) -> None:
    import ray

    with RayEngine(1) as engine:
        (process,) = engine.processes()
    psutil.Process(process).wait(30)
    assert ray.is_initialized()


@pytest.mark.slow
def test_a_cluster_without_a_free_core_is_told_of(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ray: Any = import_module("ray")
    monkeypatch.setattr("fedsim.engine.ray_pool.PATIENCE_S", 0.5)
    taken = ray.remote(_Idle).options(num_cpus=ray.available_resources()["CPU"]).remote()
    ray.get(taken.answer.remote())
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        ray.kill(taken)

    with RayEngine(hosts=1, tell=tell) as pool:
        assert indices(pool, [measure(0)]) == [0]
    assert "still waiting for a host" in told[0]
    assert "has 0 free" in told[0]


class _Idle:
    def answer(self) -> int:
        return 1
