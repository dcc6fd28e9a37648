"""What the user is told when something went wrong."""

import os
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedsim.errors import FedsimError, UserError

LOG = "error.log"


def tell(console: Console, error: Exception, run: Path | None = None) -> int:
    """One message; the traceback goes to a file, or with FEDSIM_DEBUG=1 to the terminal too. Returns the exit code.

    Args:
        console: where the message goes.
        error: a UserError is what the user can change (2), anything else is a failure (1).
        run: folder of the run that has begun, for the file; None: it goes among temporary files.
    """
    debug = os.environ.get("FEDSIM_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    message = str(error) if isinstance(error, FedsimError) else _named(error)
    console.print(Text.assemble(("error: ", "bold red"), message), highlight=False, soft_wrap=True)
    if isinstance(error, UserError):
        return 2
    hints = [f"the traceback is {_write(error, run)}" + ("" if debug else "; FEDSIM_DEBUG=1 shows it")]
    if run is not None:
        hints.append(f"when the cause is gone, go on with: {going_on(run)}")
    for hint in hints:
        console.print(Text(hint), soft_wrap=True)
    return 1


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
