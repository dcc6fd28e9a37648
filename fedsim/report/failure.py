"""What the user is told when something went wrong."""

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedsim.errors import FedsimError, UserError

LOG = "error.log"


def tell(console: Console, error: Exception, folder: Path | None = None) -> int:
    """One message; the traceback goes to a file, or with FEDSIM_DEBUG=1 to the terminal too. Returns the exit code.

    Args:
        console: where the message goes.
        error: a UserError is what the user can change (2), anything else is a failure (1).
        folder: the run's, for the file; None, or not there: a temporary one.
    """
    debug = os.environ.get("FEDSIM_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    message = str(error) if isinstance(error, FedsimError) else _named(error)
    console.print(Text.assemble(("error: ", "bold red"), message), highlight=False, soft_wrap=True)
    if isinstance(error, UserError):
        return 2
    where = "" if debug else "; FEDSIM_DEBUG=1 shows it"
    console.print(Text(f"the traceback is {_write(error, folder)}{where}", style="dim"), soft_wrap=True)
    return 1


def _named(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _write(error: Exception, folder: Path | None) -> str:
    """Where the traceback was written, in words."""
    if folder is not None and folder.is_dir():
        file = folder / LOG
    else:
        file = Path(tempfile.gettempdir()) / f"fedsim-{os.getpid()}.log"
    try:
        with file.open("a", encoding="utf-8") as log:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), *sys.argv, file=log)
            traceback.print_exception(error, file=log)
    except OSError as fault:
        return f"nowhere, because {file} could not be written ({fault.strerror})"
    return f"in {file}"
