"""What every test runs with: no network, the same examples every time, a folder to cache in."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before any test module imports them: they read the environment once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("deterministic", derandomize=True, database=None, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the whole session, so that what is slow to prepare is prepared once."""
    return tmp_path_factory.mktemp("cache")
