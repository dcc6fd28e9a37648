"""One run a folder."""

import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from fedsim.errors import UserError


def held(folder: Path) -> bool:
    """Some process holds the folder; looking hurts nobody, because who asks for the lock asks more than once."""
    try:
        handle = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


class RunLock:
    """``with RunLock(folder): ...`` holds the folder for this process; the system lets go when the process ends.

    Raises:
        UserError: Another run holds the folder, or nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            reason = f"cannot be written to ({error.strerror}): choose another --out"
            raise UserError(reason, file=self._folder) from error
        try:
            _lock(handle)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode() or "another process"
            os.close(handle)
            reason = f"in use by {holder}; wait for it, or choose another --out"
            raise UserError(reason, file=self._folder) from error
        # The file stays when the lock goes: to remove it would let two runs lock two files of the same name.
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _lock(handle: int) -> None:
    """Take the lock; whoever only looked at it (`held`) is gone after a moment.

    Raises:
        BlockingIOError: it is really held.
    """
    for left in (3, 2, 1, 0):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
        time.sleep(0.01)
