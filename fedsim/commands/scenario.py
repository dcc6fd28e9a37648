"""`scenario`: run one, or list those at hand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedsim.commands.options import Assignments, print_json, refuse
from fedsim.commands.show import show_summary
from fedsim.errors import UserError
from fedsim.observe.console import console

if TYPE_CHECKING:
    from fedsim.scenario.load import Loaded


def scenario(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Leave out to list scenarios.")] = None,
    assignments: Assignments = None,
    method: Annotated[list[str] | None, typer.Option(help="Run this method only; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with an interrupted run.")] = None,
    engine: Annotated[Literal["ray", "inline"] | None, typer.Option(help="Ray host actors, or this process.")] = None,
    hosts: Annotated[int | None, typer.Option(help="Ray host actors; one a core where it is left out.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or its address.")] = None,
    price: Annotated[bool, typer.Option("--price", help="Prices, clock and trace only: nothing is trained.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; logs on stderr.")] = False,
) -> None:
    """Run a scenario, or list those at hand."""
    given = {"kind": engine, "hosts": hosts, "address": address}
    where = {key: value for key, value in given.items() if value is not None}
    rest = {"--method": method, "--out": out, "--price": price}
    if name is None and resume is None:
        refuse({"--set": assignments, **rest, "--engine, --hosts, --address": where}, "needs the NAME of a scenario")
        _list_scenarios(as_json)
        return
    from fedsim.scenario.shelf import find

    path = None if name is None else find(name)
    from fedsim.scenario.load import load

    loaded = None if path is None else load(path, assignments or [])
    if resume is not None:
        refuse(rest, "does not go with --resume: the run says that for itself")
        refuse({} if loaded else {"--set": assignments}, "does not go with --resume: a run keeps its settings")
    from fedsim.monitor.watch import watched
    from fedsim.observe.terminal import observer_on
    from fedsim.report import pictures
    from fedsim.request import again, fresh, place, starter
    from fedsim.simulation import simulate

    if resume is not None:
        request = again(resume, loaded)
    else:
        assert loaded is not None
        request = fresh(loaded, method or [], out, price)
    numbered = request.folder if resume is None and out is None else None
    with _told(request.folder, loaded, where, numbered), observer_on(console(stderr=True)) as shown:
        config = place(request, where)
        observer = watched(shown, request, config)
        drawing = request.scenario.outputs.figures and not request.price
        if drawing:
            pictures.check()
        summary = simulate(request, None if config is None else starter(config, request, observer), observer)
        if drawing:
            observer.note(f"figures: {len(pictures.draw(request.folder))} files in {request.folder / pictures.FOLDER}")
    if as_json:
        print_json(summary)
    else:
        show_summary(request.folder, summary, stages=request.price)


@contextmanager
def _told(folder: Path, loaded: "Loaded | None", where: Mapping[str, Any], numbered: Path | None) -> Iterator[None]:
    """What ends a run before its end is said in one message and in the exit code."""
    from fedsim.interrupt import Terminated
    from fedsim.report.failure import going_on, tell
    from fedsim.request import by_option, release
    from fedsim.run_folder import is_run
    from fedsim.scenario.load import locate

    try:
        yield
    except KeyboardInterrupt as stop:
        if is_run(folder):
            hint = f"stopped; go on with: {going_on(folder)}"
            console(stderr=True).print(hint, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None
    except Exception as error:
        if isinstance(error, UserError):
            if numbered is not None:
                release(numbered)
            error = by_option(error, where)
            error = locate(loaded, error) if loaded else error
        raise typer.Exit(tell(console(stderr=True), error, folder if is_run(folder) else None)) from None


def _list_scenarios(as_json: bool) -> None:
    from fedsim.report.layout import Grid, draw
    from fedsim.scenario.shelf import listing

    rows = listing()
    if as_json:
        known = ({"path": str(r.path), "summary": r.summary, "clients": r.clients, "methods": r.methods} for r in rows)
        names = (row.name for row in rows if row.error is None)
        print_json({"scenarios": dict(zip(names, known, strict=False))})
        return
    lines = [
        (row.name, f"broken: {row.error.splitlines()[0]}", "", "")
        if row.error
        else (row.name, row.summary, f"{row.clients:,}", ", ".join(row.methods))
        for row in rows
    ]
    headers = ("scenario", "what it shows", "clients", "methods")
    note = "run one: python -m fedsim scenario NAME"
    draw(console(), Grid(headers, lines, notes=[note], left=frozenset({0, 1, 3}), wraps=frozenset({1, 3})))
