r"""The comparison of methods as a LaTeX table with the rules of `booktabs`."""

import re
from collections.abc import Sequence
from pathlib import Path

from fedsim.report.compare import of_runs
from fedsim.report.layout import Grid
from fedsim.report.spread import repeats
from fedsim.store import atomic

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(runs: Sequence[Path], methods: Sequence[str], file: Path) -> list[Path]:
    """Write the methods of one run, or of several as `compare` shows them, as a `tabular`. Returns the file.

    Raises:
        UserError: as `repeats` does.
    """
    atomic.write_bytes(file, table(of_runs(repeats(runs, methods), 0)).encode())
    return [file]


def table(grid: Grid) -> str:
    r"""A grid as a `tabular`; its notes are comments above, and every line of a header is a row of its own."""
    headers = [[line.strip(" ,") for line in header.splitlines()] for header in grid.headers]
    height = max(map(len, headers))
    heads = zip(*([""] * (height - len(header)) + header for header in headers), strict=True)
    lines = [*(f"% {note}" for note in (r"needs \usepackage{booktabs}", *grid.notes))]
    lines.append(rf"\begin{{tabular}}{{{''.join('l' if i in grid.left else 'r' for i in range(len(grid.headers)))}}}")
    lines += [r"\toprule", *map(_row, heads), r"\midrule"]
    for index, row in enumerate(grid.rows):
        lines += [r"\midrule"] if index in grid.sections else []
        lines.append(_row(row))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return re.sub("|".join(map(re.escape, _ESCAPED)), lambda found: _ESCAPED[found[0]], text)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(" ".join(cell.split())) for cell in cells) + r" \\"
