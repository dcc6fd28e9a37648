import multiprocessing
import os
import time
from pathlib import Path

import pytest

from fedsim.data.cached import make_once


def _slow(folder: Path) -> None:
    (folder / "one").write_text(str(os.getpid()))
    time.sleep(0.3)
    (folder / "two").write_text(str(os.getpid()))


def _ask(folder: str) -> tuple[str, str]:
    make_once(Path(folder), _slow)
    return (Path(folder) / "one").read_text(), (Path(folder) / "two").read_text()


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        seen = pool.map(_ask, [str(tmp_path / "a" / "b")] * 3, chunksize=1)
    assert len({pid for pair in seen for pid in pair}) == 1


def test_a_second_call_builds_nothing(tmp_path: Path) -> None:
    make_once(tmp_path / "a", lambda folder: (folder / "x").touch())
    make_once(tmp_path / "a", lambda folder: pytest.fail("built again"))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


def test_failure_leaves_nothing_and_the_next_call_starts_afresh(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        make_once(tmp_path / "a", fail)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "a.partial").exists()
    make_once(tmp_path / "a", lambda folder: (folder / "x").touch())
    assert (tmp_path / "a" / "x").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "stale").touch()
    make_once(tmp_path / "a", lambda folder: (folder / "x").touch())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
