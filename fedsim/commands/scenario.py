"""`scenario`: run one, or list those at hand."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedsim.commands.options import Assignments, print_json, refuse
from fedsim.commands.show import show_summary
from fedsim.observe.console import console

if TYPE_CHECKING:
    from fedsim.engine.base import Engine
    from fedsim.observe.events import Events
    from fedsim.observe.native import Folded
    from fedsim.observe.observer import Observer
    from fedsim.scenario.load import Loaded
    from fedsim.simulation import Request


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
    quiet: Annotated[bool, typer.Option("--quiet", help="Say where the result is, and what went wrong.")] = False,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Of stderr: for people, or a JSON object a line for programs.")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; logs on stderr.")] = False,
) -> None:
    """Run a scenario, or list those at hand."""
    given = {"kind": engine, "hosts": hosts, "address": address}
    where = {key: value for key, value in given.items() if value is not None}
    rest = {"--method": method, "--out": out, "--price": price}
    if name is None and resume is None:
        rest |= {"--quiet": quiet, "--log-format": log_format != "text"}
        refuse({"--set": assignments, **rest, "--engine, --hosts, --address": where}, "needs the NAME of a scenario")
        _list_scenarios(as_json)
        return
    from fedsim.commands.ending import Ending
    from fedsim.observe.native import Folded

    with Folded() as folded, Ending(as_events=log_format == "json") as ending:
        if log_format == "json":
            refuse({"--quiet": quiet}, "does not go with --log-format json")
        if resume is not None:
            refuse(rest, "does not go with --resume: the run says that for itself")
            refuse({} if name else {"--set": assignments}, "does not go with --resume: a run keeps its settings")
        loaded = ending.loaded = None if name is None else _load(name, assignments or [])
        from fedsim.request import again, fresh

        if resume is not None:
            request = again(resume, loaded)
        else:
            assert loaded is not None
            request = fresh(loaded, method or [], out, price)
        ending.begun(request.folder, where, numbered=resume is None and out is None)
        with _shown(ending.events, quiet, request) as shown:
            summary = _simulate(request, where, shown, folded)
        if ending.events is not None:
            ending.events.write("ended", run=str(request.folder), methods=list(summary["methods"]))
    if as_json:
        print_json(summary)
    else:
        show_summary(request.folder, summary, stages=request.price, brief=quiet)


def _load(name: str, assignments: list[str]) -> "Loaded":
    """A mistyped name is told before everything that reads scenarios is imported."""
    from fedsim.scenario.shelf import find

    path = find(name)
    from fedsim.scenario.load import load

    return load(path, assignments)


def _shown(events: "Events | None", quiet: bool, request: "Request") -> "AbstractContextManager[Observer]":
    """Who tells of progress on stderr."""
    from fedsim.observe.observer import Silent
    from fedsim.observe.terminal import observer_on

    if events is not None:
        return nullcontext(events)
    methods = request.methods or tuple(request.scenario.methods)
    return nullcontext(Silent()) if quiet else observer_on(console(stderr=True), methods)


def _simulate(request: "Request", where: Mapping[str, Any], shown: "Observer", folded: "Folded") -> dict[str, Any]:
    """The run itself, and the figures that it leaves."""
    from fedsim.engine.ray_log import RAY_LOG
    from fedsim.monitor.watch import watched
    from fedsim.report import pictures
    from fedsim.request import place, starter
    from fedsim.simulation import simulate

    config = place(request, where)
    observer = watched(shown, request, config)
    drawing = request.scenario.outputs.figures and not request.price
    if drawing:
        pictures.check()
    if config is None:
        summary = simulate(request, None, observer)
    else:
        start = starter(config, request, observer)

        def begin() -> "Engine":
            if config.kind == "ray":
                folded.into(request.folder / RAY_LOG)
            return start()

        summary = simulate(request, begin, observer)
    if drawing:
        observer.note(f"figures: {len(pictures.draw(request.folder))} files in {request.folder / pictures.FOLDER}")
    return summary


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
