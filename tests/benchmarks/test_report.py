from dataclasses import asdict
from typing import Any

from benchmarks import machine, report, summary
from benchmarks.bench import MEMORY_TURN
from benchmarks.workload import MLM


def timing(system: str, turn: int, speed: float, first: float) -> dict[str, Any]:
    return {
        "system": system,
        "turn": turn,
        "updates_per_s": speed,
        "first_round_done_s": first,
        "distance": 2e-5,
        "elsewhere_cores": 0.5 if turn == 1 else 0.0,
        "peak_bytes": 123_456_789 if turn == MEMORY_TURN else 0,
        "versions": {"torch": "2.9"},
    }


def stored() -> dict[str, Any]:
    """Results as they are kept."""
    speeds = {"torch-1": (50.0,), "torch-2-kept": (20.0, 10.0, 40.0), "fedsim-ray-2-all": (18.0, 11.0, 30.0)}
    labels = {"torch-1": "once", "torch-2-kept": "bare", "fedsim-ray-2-all": "ours"}
    timings = [timing(name, turn, speed, 3.0 + turn) for name in speeds for turn, speed in enumerate(speeds[name])]
    return {
        "work": asdict(MLM),
        "date": "2026-01-02",
        "seconds": 100,
        "machine": machine.describe(),
        "rounds": 8,
        "runs": 3,
        "systems": {
            name: {"label": label, "family": "bare" if name.startswith("torch") else "fedsim", "masked": False}
            for name, label in labels.items()
        },
        "missing": ["pfl"],
        "failures": {},
        "timings": [*timings, timing("fedsim-ray-2-all", MEMORY_TURN, 1.0, 99.0)],
    }


def test_the_best_loop_is_one_that_was_run_in_every_turn() -> None:
    content = stored()
    assert summary.best_loop(content) == "torch-2-kept"
    content["systems"]["torch-2-kept"]["masked"] = True
    assert summary.best_loop(content) == "torch-1"


def test_the_page_has_medians_and_ratios_within_a_turn() -> None:
    page = report.markdown([stored()])
    assert "| bare | 3 | 20.0 | 10.0 to 40.0 | 1.00 | 4.0 | - | 2e-05 |" in page
    assert "| ours | 3 | 18.0 | 11.0 to 30.0 | 0.90 | 4.0 | 123 | 2e-05 |" in page
    assert "Other programs used more than 0.2 cores during 2 of these runs." in page
    assert "Not installed, hence not measured: pfl." in page
