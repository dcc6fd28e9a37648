"""Where text goes: a terminal, a file or a pipe."""

import os

from rich.console import Console


def console(stderr: bool = False) -> Console:
    """As wide as the terminal or $COLUMNS says; a file is wide enough for a table of many methods."""
    found = Console(stderr=stderr)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=160)
