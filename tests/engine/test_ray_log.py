from pathlib import Path

import pytest

from fedsim.engine import ray_log


def test_only_what_processes_have_said_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs, kept = tmp_path / "logs", tmp_path / "ray.log"
    logs.mkdir()
    (logs / "worker-1.err").write_text(":job_id:01000000\n:actor_name:HostActor\nOut of memory\n")
    (logs / "worker-1.out").write_text(":job_id:01000000\n:task_name:fedavg\n")
    (logs / "worker-2.out").write_text("")
    (logs / "raylet.err").write_text("x" * 50 + "\nlast words")
    (logs / "gcs_server.out").write_text("chatter of no interest")
    kept.write_text("earlier\n")
    monkeypatch.setattr(ray_log, "MOST_BYTES", 60)
    ray_log.gather(logs, kept)
    assert kept.read_text().splitlines() == [
        "earlier",
        "==> raylet.err <==",
        "x" * 49,
        "last words",
        "==> worker-1.err <==",
        "Out of memory",
    ]


def test_where_there_is_nothing_to_keep_no_file_is_made(tmp_path: Path) -> None:
    (tmp_path / "worker-1.err").write_text(":job_id:01000000\n")
    ray_log.gather(tmp_path, tmp_path / "ray.log")
    assert not (tmp_path / "ray.log").exists()
