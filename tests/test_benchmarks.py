"""The benchmark's systems do the same work: they reach the same weights. Nothing is timed."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import bare_torch, machine, meter, report, run, scenario, systems, workload
from fedsim.engine.inline import InlineEngine
from fedsim.observe.observer import Silent
from fedsim.scenario.load import load
from fedsim.simulation import Request, simulate

ROUNDS = 2


@pytest.fixture(scope="module")
def first() -> workload.Floats:
    return np.asarray(workload.flat(workload.model()))


@pytest.fixture(scope="module")
def reference() -> workload.Floats:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    weights = bare_torch.sequential(ROUNDS, bare_torch.plain_share, lambda: None).numpy()
    torch.set_num_threads(threads)
    return weights


def test_the_work_is_what_the_page_says(first: workload.Floats) -> None:
    ids, targets = workload.data()
    assert ids.shape == targets.shape == (100, 8, 64)
    hidden = targets != -100
    assert 0.14 < hidden.mean() < 0.16
    assert (ids[hidden] == 4).all()
    assert hidden.reshape(100, 2, 4 * 64).any(-1).all(), "a batch without a target has no loss"
    draw = np.random.default_rng(3)
    assert np.array_equal(np.where(hidden, targets, ids), draw.integers(5, 8000, (100, 8, 64)))
    assert np.array_equal(hidden, draw.random((100, 8, 64)) < 0.15)
    assert workload.cohort(1) == np.random.default_rng(1001).choice(100, 10, replace=False).tolist()
    assert first.size == 1_454_016
    assert workload.distance(first, first + 1, first) == 1.0


def test_the_first_weights_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    once, twice = workload.flat(workload.model()), workload.flat(workload.model())
    assert torch.equal(once, twice)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("positions", ["all", "masked"])
def test_fedsim_reaches_the_reference(
    positions: scenario.Positions,
    first: workload.Floats,
    reference: workload.Floats,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(cache))
    loaded = load(scenario.write(tmp_path / "w3", ROUNDS, positions))
    simulate(Request(loaded.scenario, loaded.base, tmp_path / "run"), InlineEngine, Silent())
    system = systems.System("fedsim", "fedsim", (), "fedsim")
    outcome = systems.read(system, tmp_path)
    assert workload.distance(outcome.weights, reference, first) <= run.TOLERANCE
    assert len(outcome.round_ends) == ROUNDS
    assert list(outcome.round_ends) == sorted(outcome.round_ends)
    assert set(outcome.versions) == {"fedsim", "ray", "torch"}


def test_flat_buffers_change_nothing(reference: workload.Floats) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    weights = bare_torch.sequential(ROUNDS, bare_torch.flat_share, lambda: None).numpy()
    torch.set_num_threads(threads)
    assert np.array_equal(weights, reference)


@pytest.mark.slow
def test_two_processes_reach_the_reference(first: workload.Floats, reference: workload.Floats) -> None:
    marks: list[int] = []
    weights = bare_torch.parallel(ROUNDS, 2, bare_torch.flat_share, True, lambda: marks.append(1))
    assert workload.distance(weights.numpy(), reference, first) <= run.TOLERANCE
    assert len(marks) == ROUNDS + 1


def test_peers_are_found_by_option_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _ in systems.PEERS.values():
        monkeypatch.delenv(variable, raising=False)
    none, missing = systems.peers(3, {"flower": str(tmp_path / "absent"), "pfl": str(tmp_path / "absent")})
    assert not none
    assert [line.partition(":")[0] for line in missing] == ["flower", "pfl"]
    monkeypatch.setenv("BENCH_PFL_PYTHON", sys.executable)
    found, missing = systems.peers(3, {"flower": sys.executable, "pfl": None})
    assert [system.name for system in found] == ["flower", "pfl-1", "pfl-2"]
    assert all(system.command[0] == sys.executable and system.command[-2:] == ("--rounds", "3") for system in found)
    assert not missing


def test_choosing_keeps_what_the_rest_is_compared_to(tmp_path: Path) -> None:
    everything = [*systems.bare(2), *systems.simulator({"all": tmp_path / "w3.yaml"})]
    names = [system.name for system in systems.choose(everything, ["fedsim-ray"])]
    assert names == [systems.REFERENCE, systems.BASELINE, "fedsim-ray-2-all", "fedsim-ray-1-all"]
    assert systems.choose(everything, []) == everything


def test_a_run_leaves_its_times_and_weights(tmp_path: Path) -> None:
    code = "import numpy as np; from benchmarks.meter import Meter; m = Meter(); m.mark(); m.mark(); m.mark(); "
    command = (sys.executable, "-c", code + "m.finish(np.ones(3, np.float32), torch='x')")
    environment = systems.environment(tmp_path, tmp_path)
    assert environment[meter.FOLDER] == str(tmp_path)
    started, used = machine.run(command, tmp_path, environment, 60, memory=True)
    outcome = systems.read(systems.System("x", "x", command), tmp_path)
    assert started < outcome.round_ends[0] <= outcome.round_ends[1] < started + used.seconds
    assert outcome.weights.tolist() == [1, 1, 1]
    assert outcome.versions == {"torch": "x"}
    assert used.peak_bytes > 1e6


def test_a_run_that_fails_or_hangs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 3: why"):
        machine.run(
            (sys.executable, "-c", "print('why', end='', flush=True); exit(3)"), tmp_path, os.environ, 60, False
        )
    with pytest.raises(RuntimeError, match=r"took more than 0\.1 s"):
        machine.run((sys.executable, "-c", "import time; time.sleep(60)"), tmp_path, os.environ, 0.1, False)


def test_the_page_has_medians_and_ratios_within_a_turn() -> None:
    def timing(system: str, turn: int, speed: float, first: float) -> dict[str, Any]:
        return {
            "system": system,
            "turn": turn,
            "updates_per_s": speed,
            "first_round_done_s": first,
            "distance": 2e-5,
            "elsewhere_cores": 0.5 if turn == 1 else 0.0,
            "peak_bytes": 123_456_789 if turn == run.MEMORY_TURN else 0,
            "versions": {"torch": "2.9"},
        }

    base, ours = systems.BASELINE, "fedsim-ray-2-all"
    speeds = {base: (20.0, 10.0, 40.0), ours: (18.0, 11.0, 30.0)}
    timings = [timing(name, turn, speed, 3.0 + turn) for name in speeds for turn, speed in enumerate(speeds[name])]
    content = {
        "machine": machine.describe(),
        "rounds": 8,
        "runs": 3,
        "baseline": base,
        "labels": {base: "bare", ours: "ours"},
        "missing": ["pfl"],
        "timings": [*timings, timing(ours, run.MEMORY_TURN, 1.0, 99.0)],
    }
    page = report.markdown(content)
    assert "| bare | 20.0 | 10.0 to 40.0 | 1.00 | 4.0 | - | 2e-05 |" in page
    assert "| ours | 18.0 | 11.0 to 30.0 | 0.90 | 4.0 | 123 | 2e-05 |" in page
    assert "Other programs used more than 0.2 cores during 2 of these runs." in page
    assert "Not installed, hence not measured: pfl." in page
