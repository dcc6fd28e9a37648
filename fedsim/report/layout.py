"""A table where the terminal is wide enough for one, else the same as a list."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
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
    spare: tuple[int, ...] = ()
    """Columns that may be left out where there is no room, the first of them first."""


def draw(console: Console, grid: Grid) -> None:
    """Print a grid as wide as it must be, without some columns, or as a list where that is still too wide."""
    if grid.title:
        console.print(Text(grid.title, style="bold"))
    notes = list(grid.notes)
    if (shown := _narrowed(grid, console.width)) is not None:
        console.print(_table(shown))
        if left_out := [header for header in grid.headers if header not in shown.headers]:
            notes.append(f"no room for: {', '.join(' '.join(header.split()) for header in left_out)}")
    else:
        _list(console, grid)
    for note in notes:
        console.print(Text(note, style="dim"))


def fits(grid: Grid, width: int) -> bool:
    """The whole table fits into so many characters."""
    return _width(grid) <= width


def _narrowed(grid: Grid, width: int) -> Grid | None:
    """The grid without as many spare columns as must go; None: it does not help."""
    for gone in range(len(grid.spare) + 1):
        left = _without(grid, set(grid.spare[:gone]))
        if fits(left, width):
            return left
    return None


def _without(grid: Grid, gone: Collection[int]) -> Grid:
    """The grid without these columns."""
    kept = [index for index in range(len(grid.headers)) if index not in gone]
    place = {index: new for new, index in enumerate(kept)}
    return replace(
        grid,
        headers=tuple(grid.headers[index] for index in kept),
        rows=[[row[index] for index in kept] for row in grid.rows],
        left=frozenset(place[index] for index in grid.left if index in place),
        wraps=frozenset(place[index] for index in grid.wraps if index in place),
        spare=tuple(place[index] for index in grid.spare if index in place),
    )


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
