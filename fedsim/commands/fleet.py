"""`fleet`: what a fleet can do with a scenario's methods."""

from pathlib import Path
from typing import Annotated

import typer

from fedsim.commands.options import Assignments, print_json, refuse
from fedsim.errors import UserError
from fedsim.observe.console import console


def fleet(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Leave out for the catalogue.")] = None,
    assignments: Assignments = None,
    clients: Annotated[int, typer.Option(min=1, help="Price the work of at most so many clients.")] = 1000,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The picture; fleet-NAME.png if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; logs on stderr.")] = False,
) -> None:
    """What a scenario's fleet can do with its methods, as tables and as a picture; or the classes of devices."""
    from fedsim.report import fleet as report
    from fedsim.report.layout import draw

    if name is None:
        refuse({"--set": assignments, "--out": out, "--json": as_json}, "needs the NAME of a scenario")
        for grid in report.classes():
            draw(console(), grid)
        return
    from fedsim.observe.terminal import observer_on
    from fedsim.report import fleet_figure
    from fedsim.scenario.load import load, locate
    from fedsim.scenario.shelf import find
    from fedsim.survey import survey

    loaded = load(find(name), assignments or [])
    try:
        with observer_on(console(stderr=True)) as observer:
            found = survey(loaded.scenario, loaded.base, clients, observer)
    except UserError as error:
        raise locate(loaded, error) from None
    if as_json:
        print_json(report.as_json(found))
    else:
        for grid in (*report.makeup(found.fleet), report.demands(found)):
            draw(console(), grid)
    file = fleet_figure.save(found, out or Path(f"fleet-{loaded.scenario.name}.png"))
    console(stderr=True).print(f"picture: {file}", markup=False, highlight=False, soft_wrap=True)
