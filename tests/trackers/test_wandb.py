import json
from pathlib import Path

import pytest

from fedsim.trackers import wandb
from tests.trackers.subjects import ROWS, SUMMARY, history, records, subject


@pytest.mark.slow
def test_without_a_key_everything_is_in_a_file_of_the_run(tmp_path: Path) -> None:
    session = wandb.open_session(subject(tmp_path), None)
    session.log(ROWS)
    session.end("finished", SUMMARY)
    ((name, rows),) = history(tmp_path).items()
    assert name == f"{tmp_path.name}/fedavg"
    assert [row["round"] for row in rows] == [row["_step"] for row in rows] == [0, 1, 2, 3]
    assert [row["so_far/upload_bytes"] for row in rows] == [5e6 * n for n in range(4)]
    assert [row.get("finetune/accuracy") for row in rows] == [None, 0.25, None, 0.75]
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = records(file)
    config = {u.key: json.loads(u.value_json) for r in found for u in (*r.run.config.update, *r.config.update)}
    assert config["phases.finetune.rounds"] == 4
    summary = {u.key: json.loads(u.value_json) for r in found for u in r.summary.update}
    assert summary["final/upload_bytes"] == 15_000_000
    assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [0]


def test_a_run_that_goes_on_has_the_same_id(tmp_path: Path) -> None:
    first = wandb.open_session(subject(tmp_path), None)
    first.log(ROWS[:1])
    first.end("stopped", {})
    again = wandb.open_session(subject(tmp_path), first.id)
    again.log(ROWS[1:])
    again.end("finished", SUMMARY)
    assert again.id == first.id
    assert [row["round"] for row in history(tmp_path)[f"{tmp_path.name}/fedavg"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("environment", "netrc", "offline"),
    [
        ({}, "", True),
        ({"WANDB_API_KEY": "x"}, "", False),
        ({"WANDB_MODE": "disabled"}, "", False),
        ({}, "machine api.wandb.ai login user password x", False),
        ({"WANDB_BASE_URL": "https://wandb.example:8443"}, "machine api.wandb.ai login user password x", True),
        ({"WANDB_BASE_URL": "https://wandb.example:8443"}, "machine wandb.example login user password x", False),
        ({}, "this is no netrc", True),
    ],
)
def test_it_is_online_only_where_a_key_or_a_word_is_there(
    environment: dict[str, str], netrc: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text(netrc)
    file.chmod(0o600)
    for name, value in {**environment, "NETRC": str(file)}.items():
        monkeypatch.setenv(name, value)
    assert wandb.where(tmp_path).startswith("offline, ") == offline
