import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, picture, report, run, summary
from benchmarks.bench import MEMORY_TURN
from benchmarks.systems import PEERS
from benchmarks.workload import MLM, WORKLOADS


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
            name: {"label": label, "family": "bare" if name.startswith("torch") else "fedsim", "less": False}
            for name, label in labels.items()
        },
        "missing": ["pfl"],
        "failures": {},
        "timings": [*timings, timing("fedsim-ray-2-all", MEMORY_TURN, 1.0, 99.0)],
    }


def test_the_best_loop_is_one_that_was_run_in_every_turn() -> None:
    content = stored()
    assert summary.best_loop(content) == "torch-2-kept"
    once_each = {**content, "timings": [run_ for run_ in content["timings"] if run_["turn"] == 0]}
    assert summary.best_loop(once_each) == "torch-1"


def test_the_reference_alone_is_nothing_to_compare_with() -> None:
    content = stored()
    del content["systems"]["torch-2-kept"]
    assert summary.best_loop(content) is None
    assert all(row.relative is None for row in summary.rows(content))
    assert "| ours | 3 | 18.0 | 11.0 to 30.0 | - | 4.0 | 123 | 2e-05 |" in report.markdown([content])


def test_a_peer_counts_in_its_fastest_way() -> None:
    content = stored()
    for name, speed in (("pfl-1", 5.0), ("pfl-2", 9.0)):
        content["systems"][name] = {"label": name, "family": "peer", "less": False}
        content["timings"] += [timing(name, turn, speed + turn, 8.0) for turn in range(3)]
    assert summary.fastest(content, "pfl") == "pfl-2"
    assert summary.fastest(content, "flower") is None
    assert summary.ratio(content, "fedsim-ray-2-all", "pfl-2") == 2.0  # 18 / 9, 11 / 10, 30 / 11
    content["timings"].append(timing("pfl-1", 3, 100.0, 8.0))
    assert summary.fastest(content, "pfl") == "pfl-1"


def test_the_page_has_medians_and_ratios_within_a_turn() -> None:
    content = stored()
    content["systems"]["flower"] = {"label": "Flower", "family": "peer", "less": False}
    content["timings"] += [timing("flower", turn, speed, 16.0) for turn, speed in enumerate((6.0, 11.0, 5.0))]
    page = report.markdown([content])
    assert "| bare | 3 | 20.0 | 10.0 to 40.0 | 1.00 | 4.0 | - | 2e-05 |" in page
    assert "| ours | 3 | 18.0 | 11.0 to 30.0 | 0.90 | 4.0 | 123 | 2e-05 |" in page
    assert "| once | 1 | 50.0 | - | 2.50 | 3.0 | - | 2e-05 |" in page
    # against Flower: 18 / 6, 11 / 11, 30 / 5; first rounds after 3, 4, 5 s and 16 s
    assert "| mlm | 18.0 | 0.90 | 3.00 | - | - | 4.0 | 0.25 |" in page
    assert "- Other programs used more than 0.2 cores during 3 of these 10 runs." in page
    assert "- Not installed, hence not measured: pfl-research." in page


def test_a_busy_machine_is_told_of_first() -> None:
    content = stored()
    assert "**Other programs kept more than 0.2 cores busy during 2 of the 7 runs below." in report.markdown([content])
    for run_ in content["timings"]:
        run_["elsewhere_cores"] = 0.1
    assert "**Other programs" not in report.markdown([content])
    assert "during 0 of these 7 runs." in report.markdown([content])


def test_works_measured_elsewhere_are_told_apart() -> None:
    here, there = stored(), stored()
    there["work"] = asdict(WORKLOADS["mlm-wide"])
    there["date"] = "2026-02-03"
    there["missing"] = []
    there["failures"] = {"fedsim-ray-2-all": "exit code 1:\n  no memory"}
    page = report.markdown([here, there])
    assert "- 2026-01-02, " in page
    assert " (mlm)." in page
    assert " (mlm-wide)." in page
    assert "- Versions: torch 2.9." in page
    assert "- Not installed, hence not measured (mlm): pfl-research." in page
    assert "- Several processors: " not in page
    there["machine"] = {**there["machine"], "processor": "another"}
    page = report.markdown([here, there])
    assert "another, " in page
    assert "- Several processors: " in page
    assert "- ours failed: exit code 1: no memory" in page


def test_all_works_and_peers_have_words() -> None:
    assert report.DESCRIPTIONS.keys() == WORKLOADS.keys()
    assert report.NAMES.keys() == PEERS.keys()


@pytest.mark.slow
def test_the_picture_shows_the_best_of_each(tmp_path: Path) -> None:
    content = stored()
    rows = picture.shown(content)
    assert {name: row.name for name, row in rows.items()} == {
        picture.BEST: "torch-2-kept",
        "fedsim-ray-2-all": "fedsim-ray-2-all",
    }
    picture.draw([content, content], tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    assert "fedsim, Ray" in text
    assert "Flower" not in text


def test_results_are_drawn_anew_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr("sys.argv", ["run", "--from-results"])
    with pytest.raises(SystemExit, match="nothing was measured yet"):
        run.main()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlm.json").write_text(json.dumps(stored()))
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code == 0
    assert (tmp_path / "benchmarks.md").read_text() == report.markdown([stored()])
    assert (tmp_path / report.PICTURE).read_bytes().startswith(b"\x89PNG")
    assert "| ours | 3 |" in capsys.readouterr().out
