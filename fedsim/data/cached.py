"""Folders that are built once, whoever asks first."""

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Make sure that `folder` exists, calling `build(empty folder)` where it does not.

    Any number of processes may ask at once: one builds, the others wait for it. The folder appears under its name in
    one step, when it is complete; what a killed process left behind is removed by the next one.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            return
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            build(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
