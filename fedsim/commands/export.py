"""`export`: a run in the formats of other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedsim.commands.options import refuse
from fedsim.errors import UserError
from fedsim.observe.console import console


def export(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="A run's folder; for latex also several.")],
    to: Annotated[Literal["csv", "flat-json", "perfetto", "latex"], typer.Option(help="The format.")],
    method: Annotated[list[str] | None, typer.Option(help="This method only; repeatable.")] = None,
    rounds: Annotated[
        str | None, typer.Option(metavar="A..B", help="These rounds only, both included; also A.. or ..B.")
    ] = None,
    tracks: Annotated[
        Literal["clients", "devices"] | None,
        typer.Option(help="Of perfetto: a track for each client or for each class of devices."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder of the tables, or file; in the run's folder if left out."),
    ] = None,
) -> None:
    """Write a run for other programs: all its tables, the timeline for ui.perfetto.dev, or a table in LaTeX."""
    first = runs[0]
    if to != "perfetto":
        refuse({"--tracks": tracks}, "goes with --to perfetto")
    if to == "latex":
        from fedsim.export.latex import latex

        refuse({"--rounds": rounds}, "does not go with --to latex, which shows what was reached in the end")
        files = latex(runs, method or [], _file(out, first, "table.tex"))
    else:
        from fedsim.export.cut import cut
        from fedsim.trace.reader import read_run

        if len(runs) > 1:
            raise UserError(f"is {to}, which takes one run; there are {len(runs)}", key="--to")
        run = read_run(first)
        part = cut(run, method or [], rounds)
        if to == "perfetto":
            from fedsim.export.perfetto import perfetto

            files = perfetto(run, part, tracks, _file(out, first, "timeline.json.gz"))
        else:
            from fedsim.export import tables

            folder = out or first / "export" / to
            if folder.is_file():
                raise UserError("is a file: give the folder that the tables go into", file=folder, key="--out")
            files = tables.csv(run, part, folder) if to == "csv" else tables.flat_json(run, part, folder)
    size = f"{sum(file.stat().st_size for file in files) / 1e6:,.3f} MB"
    names = str(files[0]) if len(files) == 1 else f"{', '.join(file.name for file in files)} to {files[0].parent}"
    console(stderr=True).print(f"wrote {names}, {size}", markup=False, highlight=False, soft_wrap=True)


def _file(out: Path | None, run: Path, name: str) -> Path:
    file = out or run / "export" / name
    if file.is_dir():
        raise UserError(f"is a folder: give the name of a file, such as {file / name}", file=file, key="--out")
    return file
