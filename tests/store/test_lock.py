import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.store import RunLock
from fedsim.store.lock import held

HOLD = """
import sys, time
from pathlib import Path
from fedsim.store import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_over(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with RunLock(folder):
        with (
            pytest.raises(UserError, match=rf"run: in use by process {os.getpid()} on .*another --out"),
            RunLock(folder),
        ):
            pass
        with RunLock(tmp_path / "other"):
            pass
    with RunLock(folder):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"process {holder.pid} "), RunLock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with RunLock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        raise ZeroDivisionError
    with RunLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/run: cannot be written to \(Not a directory\)"),
        RunLock(tmp_path / "file" / "run"),
    ):
        pass


def test_whether_a_folder_is_held_can_be_seen_without_holding_it(tmp_path: Path) -> None:
    assert not held(tmp_path)
    with RunLock(tmp_path):
        assert held(tmp_path)
        assert held(tmp_path)
    assert not held(tmp_path)


def test_a_look_at_the_lock_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    handle = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    timer = threading.Timer(0.015, os.close, [handle])
    timer.start()
    with RunLock(tmp_path):
        assert held(tmp_path)
    timer.join()
