"""Which cluster is joined, and what is said where none can be."""

import sys
from types import SimpleNamespace

import pytest

from fedsim.engine.ray_start import initialise
from fedsim.errors import UserError


def test_a_cluster_that_nobody_asked_for_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked: list[str] = []
    ray = SimpleNamespace(
        job_config=SimpleNamespace(JobConfig=dict), init=lambda address, **options: asked.append(address)
    )
    initialise(ray, 0, None, {}, dashboard=False)
    initialise(ray, 0, "auto", {}, dashboard=False)
    assert asked == ["local", "auto"]


def test_ray_without_its_dashboard_is_said_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray.dashboard.optional_deps", None)
    ray = SimpleNamespace(job_config=SimpleNamespace(JobConfig=dict), init=pytest.fail)
    with pytest.raises(UserError, match=r"engine\.dashboard: cannot be shown .*pip install 'ray\[default\]', or go"):
        initialise(ray, 0, None, {}, dashboard=True)
