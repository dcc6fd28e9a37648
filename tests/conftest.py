"""What every test runs with: no network, the same examples every time, a folder to cache in."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fedsim.engine.ray_pool import RayEngine
    from tests.command import Desk

# Before any test module imports them: they read the environment once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("deterministic", derandomize=True, database=None, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the whole session, so that what is slow to prepare is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def own_cache(cache: Path) -> Iterator[Path]:
    """Runs in this process, and the hosts and commands they start, keep what they prepare in the session's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIM_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the texts of `tests.runs.small`."""
    from tests.runs import write_texts

    folder = tmp_path_factory.mktemp("world")
    write_texts(folder)
    return folder


@pytest.fixture(scope="session")
def ray_cluster(own_cache: Path) -> Iterator[None]:
    """One small Ray cluster for the whole session; engines use it and leave it running."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            num_cpus=9,
            include_dashboard=False,
            object_store_memory=200_000_000,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def pools(ray_cluster: None) -> Iterator[Callable[[int], "RayEngine"]]:
    """Engines by number of hosts, started once and lent to the tests."""
    from fedsim.engine.ray_pool import RayEngine

    started: dict[int, RayEngine] = {}

    def pool(hosts: int) -> RayEngine:
        if hosts not in started:
            started[hosts] = RayEngine(hosts)
        return started[hosts]

    yield pool
    for engine in started.values():
        engine.close()


@pytest.fixture
def work(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Desk":
    """A folder to run the command in, with a scenario and its data."""
    from tests.command import desk

    return desk(tmp_path, capsys, monkeypatch)
