"""The command line: options in, exit codes out. What it does is elsewhere."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedsim.errors import FedsimError, UserError

if TYPE_CHECKING:
    from fedsim.engine.base import Engine
    from fedsim.observe.observer import Observer
    from fedsim.scenario.engine import Engine as EngineConfig
    from fedsim.simulation import Request

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate federated pre-training and fine-tuning of Transformers on fleets of unequal devices.",
)


def _console(stderr: bool = False) -> Console:
    """As wide as the terminal; where output is piped, wide enough for a table of many methods."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


out, err = _console(), _console(stderr=True)

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. phases.finetune.rounds=3."),
]


@app.command()
def scenario(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Leave out to list scenarios.")] = None,
    assignments: Assignments = None,
    method: Annotated[list[str] | None, typer.Option(help="Run this method only; repeatable.")] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run's folder.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with an interrupted run.")] = None,
    engine: Annotated[Literal["ray", "inline"] | None, typer.Option(help="Ray host actors, or this process.")] = None,
    hosts: Annotated[int | None, typer.Option(min=1, help="Ray host actors.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or its address.")] = None,
    price: Annotated[bool, typer.Option("--price", help="Prices, clock and trace only: nothing is trained.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; logs on stderr.")] = False,
) -> None:
    """Run a scenario, or list those at hand."""
    if name is None and resume is None:
        _list_scenarios()
        return
    request, config = _request(name, assignments or [], method or [], out_folder, resume, price, engine, hosts, address)
    log = err if as_json else out
    with _observer(log) as observer:
        from fedsim.simulation import simulate

        observer.note(f"run folder: {request.folder}")
        try:
            summary = simulate(request, None if request.price else _engine(config, observer), observer)
        except KeyboardInterrupt as stop:
            observer.note(f"stopped; go on with: python -m fedsim scenario --resume {request.folder}")
            from fedsim.interrupt import Terminated

            raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    _show(summary)


@app.command()
def show(run: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """What a run has cost and reached."""
    _show(_summary(run))


@app.command()
def compare(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Several runs side by side."""
    merged: dict[str, Any] = {"methods": {}}
    for run in runs:
        summary = _summary(run)
        for method, numbers in summary["methods"].items():
            merged["methods"][f"{run.name}\n{method}"] = numbers
    from fedsim.report.compare import comparison

    out.print(comparison(merged))


@app.command()
def schema() -> None:
    """The JSON Schema of scenario files."""
    from fedsim.scenario.editor import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


def main() -> NoReturn:
    """Run the command line. Exit codes: 0; 2 what the user wrote; 1 what failed; 130 Ctrl-C; 143 SIGTERM."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        _fail(error, 2)
    except FedsimError as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _fail(error: Exception, code: int) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _request(
    name: str | None,
    assignments: list[str],
    methods: list[str],
    folder: Path | None,
    resume: Path | None,
    price: bool,
    engine: str | None,
    hosts: int | None,
    address: str | None,
) -> tuple["Request", "EngineConfig"]:
    """What to run; a resumed run brings its own scenario, and only where it computes may change."""
    from fedsim.simulation import Request, resumed

    wanted = {"kind": engine, "hosts": hosts, "address": address}
    given = {key: value for key, value in wanted.items() if value is not None}
    if resume is not None:
        if name or assignments or methods or folder or price:
            raise UserError("goes alone, or with --engine, --hosts, --address: the run brings the rest", key="--resume")
        request = resumed(resume)
    else:
        from fedsim.scenario.load import load
        from fedsim.scenario.shelf import find

        assert name is not None
        loaded = load(find(name), assignments)
        target = folder or _fresh_folder(Path(loaded.scenario.outputs.folder), loaded.scenario.name)
        request = Request(loaded.scenario, loaded.base, target, tuple(methods), price)
    config = request.scenario.engine
    return request, type(config).model_validate({**config.model_dump(exclude_unset=True), **given})


def _fresh_folder(parent: Path, name: str) -> Path:
    """parent/name-1, or the first number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _engine(config: "EngineConfig", observer: "Observer") -> Callable[[], "Engine"]:
    def start() -> "Engine":
        if config.kind == "inline":
            from fedsim.engine.inline import InlineEngine

            return InlineEngine(config.device, config.precision)
        from fedsim.engine.ray_pool import RayEngine

        pool = RayEngine(config.hosts, config.address, config.device, config.precision, config.gpus_per_host)
        observer.note(
            f"Ray: {pool.hosts} hosts" + (f", dashboard at http://{pool.dashboard}" if pool.dashboard else "")
        )
        return pool

    return start


@contextmanager
def _observer(console: Console) -> Iterator["Observer"]:
    from fedsim.observe.terminal import Bars, Lines

    if console.is_terminal:
        with Bars(console) as bars:
            yield bars
    else:
        yield Lines(console)


def _list_scenarios() -> None:
    from fedsim.scenario.shelf import listing

    table = Table()
    for column in ("scenario", "what it shows", "clients", "methods"):
        table.add_column(column, justify="right" if column == "clients" else "left")
    for row in listing():
        if row.error:
            table.add_row(row.name, f"[red]{escape(row.error)}", "", "")
        else:
            table.add_row(row.name, escape(row.summary), f"{row.clients:,}", ", ".join(row.methods))
    out.print(table)
    out.print("run one: python -m fedsim scenario NAME")


def _summary(run: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except OSError as error:
        unfinished = (run / "scenario.json").is_file()
        hint = f"not finished: go on with --resume {run}" if unfinished else "not a run folder: it has no run.json"
        raise UserError(hint, file=run) from error
    except ValueError as error:
        raise UserError(f"run.json is damaged: {error}", file=run) from error
    return summary


def _show(summary: dict[str, Any]) -> None:
    from fedsim.report.compare import comparison

    out.print(comparison(summary))
    out.print(f"run folder: {summary['run']}", soft_wrap=True)
    out.print(
        f"open it:    fedsim.read_run({summary['run']!r}), or: python -m fedsim show {summary['run']}", soft_wrap=True
    )
