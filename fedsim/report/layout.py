"""A table where the terminal is wide enough for one, else the same as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WRAPPED = 24
"""Characters that a column of running text has at least."""


@dataclass(frozen=True)
class Grid:
    """Rows of text cells under headers; the first column names the row."""

    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    """Printed below."""
    left: frozenset[int] = frozenset({0})
    """Columns that are read from the left; the others hold numbers."""
    wraps: frozenset[int] = frozenset()
    """Columns that may take several lines."""
    sections: frozenset[int] = frozenset()
    """Rows that a line is drawn above."""


def draw(console: Console, grid: Grid) -> None:
    """Print a grid as wide as it must be, or as a list where that is too wide."""
    if grid.title:
        console.print(Text(grid.title, style="bold"))
    if _width(grid) <= console.width:
        console.print(_table(grid))
    else:
        _list(console, grid)
    for note in grid.notes:
        console.print(Text(note, style="dim"))


def _width(grid: Grid) -> int:
    """Characters that the table needs at least."""
    columns = list(zip(grid.headers, *grid.rows, strict=True))
    widths = (max(cell_len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns)
    needed = (min(width, WRAPPED) if index in grid.wraps else width for index, width in enumerate(widths))
    return sum(needed) + 3 * len(columns) + 1


def _table(grid: Grid) -> Table:
    table = Table()
    for index, header in enumerate(grid.headers):
        wraps = index in grid.wraps
        table.add_column(
            escape(header),
            justify="left" if index in grid.left else "right",
            no_wrap=not wraps,
            min_width=WRAPPED if wraps else None,
        )
    for index, row in enumerate(grid.rows):
        if index in grid.sections:
            table.add_section()
        table.add_row(*map(escape, row))
    return table


def _list(console: Console, grid: Grid) -> None:
    for row in grid.rows:
        console.print(Text(row[0], style="bold"))
        for header, cell in zip(grid.headers[1:], row[1:], strict=True):
            if cell.strip():
                text = " ".join(f"{header}: {cell}".split())
                console.print(Text(fill(text, console.width, initial_indent="  ", subsequent_indent="    ")))
