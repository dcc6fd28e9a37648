"""What the user is told when something went wrong."""

import os
import shlex
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedsim.engine.ray_log import RAY_LOG
from fedsim.errors import FedsimError, UserError

LOG = "error.log"


@dataclass(frozen=True)
class Failure:
    """What is told of an error."""

    code: int
    """Exit code: 2 for a UserError, which the user can change, 1 for anything else."""
    message: str
    hints: tuple[str, ...] = ()


def failure(error: Exception, run: Path | None = None) -> Failure:
    """One message; the traceback goes to a file, or with FEDSIM_DEBUG=1 to the terminal too.

    Args:
        error: what went wrong.
        run: folder of the run that has begun, for the file; None: it goes among temporary files.
    """
    debug = os.environ.get("FEDSIM_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    message = str(error) if isinstance(error, FedsimError) else _named(error)
    if isinstance(error, UserError):
        return Failure(2, message)
    hints = [f"the traceback is {_write(error, run)}" + ("" if debug else "; FEDSIM_DEBUG=1 shows it")]
    if run is not None:
        log = run / RAY_LOG
        if log.is_file() and log.stat().st_size:
            hints.append(f"what Ray's processes wrote is in {log}")
        hints.append(f"when the cause is gone, go on with: {going_on(run)}")
    return Failure(1, message, tuple(hints))


def tell(console: Console, error: Exception, run: Path | None = None) -> int:
    """Print what `failure` says of an error; returns the exit code."""
    found = failure(error, run)
    console.print(Text.assemble(("error: ", "bold red"), found.message), highlight=False, soft_wrap=True)
    for hint in found.hints:
        console.print(Text(hint), soft_wrap=True)
    return found.code


def going_on(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"python -m fedsim scenario --resume {shlex.quote(str(folder))}"


def _named(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _write(error: Exception, run: Path | None) -> str:
    """Where the traceback was written, in words."""
    file = Path(tempfile.gettempdir()) / f"fedsim-{os.getpid()}.log" if run is None else run / LOG
    try:
        with file.open("a", encoding="utf-8") as log:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), *sys.argv, file=log)
            traceback.print_exception(error, file=log)
    except OSError as fault:
        return f"nowhere, because {file} could not be written ({fault.strerror})"
    return f"in {file}"
