"""What native libraries write past Python onto the terminal goes to a file, from where it can be read."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self, TextIO


class Folded:
    """Within the block, after `into`, the process's standard error is a file, and `sys.stderr` the terminal still.

    Ray's C++ parts write there whenever something dies, across a live view and without an end. A file that nothing was
    written to goes away with the block.
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._terminal: int | None = None
        self._before: TextIO | None = None

    def __enter__(self) -> Self:
        with suppress(OSError):  # there may be no standard error at all
            self._terminal = os.dup(2)
        if self._terminal is not None and _writes_to(sys.stderr, 2):
            sys.stderr.flush()
            self._before = sys.stderr
            sys.stderr = open(
                self._terminal, "w", encoding=self._before.encoding, errors="replace", buffering=1, closefd=False
            )
        return self

    def into(self, file: Path) -> None:
        """Begin; the file is appended to."""
        if self._terminal is not None:
            self._file = file
            with file.open("ab") as log:
                os.dup2(log.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            sys.stderr.flush()
            sys.stderr = self._before
        if self._terminal is not None:
            os.dup2(self._terminal, 2)
            os.close(self._terminal)
        if self._file is not None:
            with suppress(FileNotFoundError):  # the run's folder goes away with a mistake
                if not self._file.stat().st_size:
                    self._file.unlink()


def _writes_to(stream: TextIO | None, number: int) -> bool:
    """False for whatever a test or a notebook has put in its place."""
    try:
        return stream is not None and stream.fileno() == number
    except (OSError, ValueError):
        return False
