from pathlib import Path

import pytest

from benchmarks import scenario, systems, workload
from fedsim.engine.inline import InlineEngine
from fedsim.observe.observer import Silent
from fedsim.scenario.load import load
from fedsim.simulation import Request, simulate

from .works import ROUNDS, SMALL, first, trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "positions"), [(work, way) for work in ("mlm", "classify") for way in ("all", "needed")]
)
def test_fedsim_reaches_the_reference(
    name: str, positions: scenario.Positions, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(cache))
    work = SMALL[name]
    loaded = load(scenario.write(work, tmp_path / "work", ROUNDS, positions))
    simulate(Request(loaded.scenario, loaded.base, tmp_path / "run"), InlineEngine, Silent())
    outcome = systems.read(work, systems.System("fedsim", "fedsim", (), "fedsim"), tmp_path)
    reference, start = trained(work), first(work)
    distance = workload.distance(outcome.weights, reference, start)
    assert distance <= workload.tolerance(work, reference, start)
    assert len(outcome.round_ends) == ROUNDS
    assert list(outcome.round_ends) == sorted(outcome.round_ends)
    assert set(outcome.versions) == {"fedsim", "ray", "torch"}
