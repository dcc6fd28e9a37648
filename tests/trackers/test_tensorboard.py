from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedsim.trackers import tensorboard
from tests.trackers.subjects import ROWS, SUMMARY, subject


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder / "tensorboard" / "fedavg"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_scalars_against_rounds_and_against_costs(tmp_path: Path) -> None:
    session = tensorboard.open_session(subject(tmp_path), None)
    session.log(ROWS[:2])
    session.log(ROWS[2:])
    session.end("finished", SUMMARY)
    found = read(tmp_path)
    assert found["so_far/upload_bytes"] == [(n, 5e6 * n) for n in range(4)]
    assert found["finetune/accuracy"] == [(1, 0.25), (3, 0.75)]
    assert found["by_sent_mb/finetune/accuracy"] == [(5, 0.25), (15, 0.75)]
    assert found["by_gflop/finetune/accuracy"] == [(2, 0.25), (6, 0.75)]
    assert found["by_simulated_s/finetune/accuracy"] == [(10, 0.25), (30, 0.75)]
    assert found["final/upload_bytes"] == [(0, 15_000_000)]
    assert not any("macro_f1" in tag for tag in found)  # it was never a finite number


def test_a_run_that_goes_on_adds_to_the_same_curves(tmp_path: Path) -> None:
    known = None
    for rows in (ROWS[:2], ROWS[2:]):
        session = tensorboard.open_session(subject(tmp_path), known)
        session.log(rows)
        session.end("stopped", {})
        known = session.id
    assert read(tmp_path)["so_far/flops"] == [(n, 2e9 * n) for n in range(4)]


def test_parameters_are_there_for_the_page_of_hyperparameters(tmp_path: Path) -> None:
    session = tensorboard.open_session(subject(tmp_path), None)
    session.end("stopped", {})
    found = EventAccumulator(str(tmp_path / "tensorboard" / "fedavg"))
    found.Reload()
    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"phases.finetune.rounds" in content
