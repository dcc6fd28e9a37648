"""A paper's figures beside ours, as a table and as records."""

from collections.abc import Mapping
from typing import Any

from fedsim.papers.base import Paper, Row
from fedsim.report.layout import Grid

_HEADERS = ("row", "table", "quantity", "unit", "printed", "ours", "difference", "note")


def comparison(paper: Paper) -> Grid:
    """One row a figure; a line where another table of the paper begins, and notes of several rows said once below."""
    rows = paper.rows()
    sections = [index for index, row in enumerate(rows) if index and row.table != rows[index - 1].table]
    marks: dict[str, str] = {}
    for row in rows:
        if row.note:
            marks.setdefault(row.note, str(len(marks) + 1))
    lines = [
        (
            row.row,
            row.table,
            row.quantity,
            row.unit,
            _number(row, row.printed),
            _number(row, row.ours),
            f"{100 * row.relative_error:+.2f} %",
            marks.get(row.note, ""),
        )
        for row in rows
    ]
    notes = [f"{mark}: {note}" for note, mark in marks.items()]
    return Grid(_HEADERS, lines, paper.TITLE, notes, left=frozenset({0, 1, 2, 3}), sections=frozenset(sections))


def records(papers: Mapping[str, Paper]) -> list[dict[str, Any]]:
    """The same for machines, by the name of the paper."""
    columns = ("table", "row", "quantity", "unit", "printed", "ours", "relative_error", "note")
    return [
        {"paper": name, **{column: getattr(row, column) for column in columns}}
        for name, paper in papers.items()
        for row in paper.rows()
    ]


def _number(row: Row, value: float) -> str:
    """Counts whole, everything else with two decimals."""
    return f"{value:,.0f}" if row.unit == "parameters" else f"{value:,.2f}"
