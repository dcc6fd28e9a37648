"""`show` and `compare`: what runs have cost and reached."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedsim.commands.options import print_json
from fedsim.errors import UserError
from fedsim.observe.console import console


def show(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    method: Annotated[list[str] | None, typer.Option(help="This method only; repeatable.")] = None,
) -> None:
    """What a run has cost and reached, what its stages train and send, and what became of each class of device."""
    from fedsim.run_folder import summary

    found = summary(run)
    for name in method or []:
        if name not in found["methods"]:
            raise UserError(f"is {name}; methods that have ended: {', '.join(found['methods'])}", key="--method")
    show_summary(run, found, stages=True, devices=True, methods=method)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    method: Annotated[list[str] | None, typer.Option(help="This method only; repeatable.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw quality against bytes and FLOPs: .png or .svg.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON list on stdout: single values, means, deviations.")
    ] = False,
) -> None:
    """Several runs side by side; of runs that differ in their seeds alone, mean and standard deviation."""
    from fedsim.report.compare import of_runs
    from fedsim.report.layout import draw
    from fedsim.report.spread import as_json as numbers
    from fedsim.report.spread import repeats

    found = repeats(runs, method or [])
    if picture is not None:
        from fedsim.report.tradeoff import save

        save(found, picture)
    if as_json:
        print_json(numbers(found))
        return
    out = console()
    draw(out, of_runs(found, out.width))


def show_summary(
    run: Path,
    summary: dict[str, Any],
    stages: bool,
    methods: Sequence[str] | None = None,
    *,
    devices: bool = False,
    brief: bool = False,
) -> None:
    """Print a run's summary: methods side by side, stages and classes of devices where asked for, and its folder.

    A brief one is the last lines alone: the folder, and how to open it or to go on.
    """
    from fedsim.report.compare import of_run
    from fedsim.report.devices import devices as class_grid
    from fedsim.report.failure import going_on
    from fedsim.report.hosts import lines as hosts
    from fedsim.report.layout import draw
    from fedsim.report.pictures import first
    from fedsim.report.stages import stages as stage_grid
    from fedsim.run_folder import unfinished

    out, shown = console(), {name: own for name, own in summary["methods"].items() if not methods or name in methods}
    grids = []  # all are made before one is drawn: a damaged trace is all that is then said
    if not brief:
        grids.append(of_run(shown, out.width, "prices only: nothing was trained" if summary.get("price") else ""))
    if stages and not brief and (trained := [name for name, numbers in shown.items() if numbers["rounds"]]):
        grids.append(stage_grid(run, trained))
        if devices:
            grids.append(class_grid(run, trained))
    for grid in grids:
        draw(out, grid)
    opening = f"fedsim.read_run({str(run)!r}), or: python -m fedsim show {shlex.quote(str(run))}"
    closing = [f"run folder: {run}", f"open it:    {opening}"]
    if left := unfinished(run, summary):
        closing[1] = f"not ended:  {', '.join(left)}; go on with: {going_on(run)}"
    if not summary.get("price"):
        closing += hosts(run, list(shown))
    if (picture := first(run)) is not None:
        closing.append(f"picture:    {picture}")
    for line in closing:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
