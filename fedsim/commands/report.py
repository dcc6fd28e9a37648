"""`python -m fedsim report`: runs as one HTML file, and their figures as pictures."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; report-SCENARIO.html if left out.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw every figure here, too: .png and .svg.")
    ] = None,
) -> None:
    """One HTML file that opens anywhere: comparison, figures, scenario, versions, how to run it again."""
    from fedsim.observe.console import console
    from fedsim.report import pictures
    from fedsim.web.report import save

    if figures is not None:
        pictures.check("--figures", "leave it out")
    file = save(runs, html)
    said = [f"report: {file} ({file.stat().st_size / 1e6:.1f} MB)"]
    for run in runs if figures is not None else ():
        assert figures is not None
        files = pictures.draw_every(run, figures if len(runs) == 1 else figures / run.resolve().name)
        said.append(f"figures: {', '.join(map(str, files))}")
    for line in said:
        console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
