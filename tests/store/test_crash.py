import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def crash(mode: str, folder: Path, count: int) -> int:
    """Kills that tests/store/crash.py made; it fails where a resumed run differs from one that was never stopped."""
    command = [sys.executable, "-m", "tests.store.crash", mode, str(folder), str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.slow
def test_a_kill_before_a_change_on_the_disk_changes_nothing(tmp_path: Path) -> None:
    assert crash("steps", tmp_path, 5) > 5


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    assert crash("moments", tmp_path, 6) > 0


@pytest.mark.slow
def test_a_kill_before_any_change_on_the_disk_changes_nothing(tmp_path: Path) -> None:
    assert crash("steps", tmp_path, 1) > 40


@pytest.mark.slow
def test_many_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    assert crash("moments", tmp_path, 60) > 0
