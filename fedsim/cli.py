"""The command line: options in, exit codes out. What it does is elsewhere."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from fedsim.errors import UserError
from fedsim.observe.console import console

if TYPE_CHECKING:
    from fedsim.engine.base import Engine
    from fedsim.observe.observer import Observer
    from fedsim.scenario.engine import Engine as EngineConfig
    from fedsim.scenario.load import Loaded

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate federated pre-training and fine-tuning of Transformers on fleets of unequal devices.",
)

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. phases.finetune.rounds=3; repeatable."),
]


@app.command()
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
        _refuse({"--set": assignments, **rest, "--engine, --hosts, --address": where}, "needs the NAME of a scenario")
        _list_scenarios(as_json)
        return
    from fedsim.scenario.load import load
    from fedsim.scenario.shelf import find

    loaded = None if name is None else load(find(name), assignments or [])
    if resume is not None:
        _refuse(rest, "does not go with --resume: the run says that for itself")
        _refuse({} if loaded else {"--set": assignments}, "does not go with --resume: a run keeps its settings")
    from fedsim.observe.terminal import observer_on
    from fedsim.report import pictures
    from fedsim.request import again, fresh, place
    from fedsim.simulation import simulate

    if resume is not None:
        request = again(resume, loaded)
    else:
        assert loaded is not None
        request = fresh(loaded, method or [], out, price)
    numbered = request.folder if resume is None and out is None else None
    with _told(request.folder, loaded, where, numbered), observer_on(console(stderr=True)) as observer:
        config = place(request, where)
        drawing = request.scenario.outputs.figures and not request.price
        if drawing:
            pictures.check()
        summary = simulate(request, None if config is None else _starter(config, observer), observer)
        if drawing:
            observer.note(f"figures: {', '.join(map(str, pictures.draw(request.folder)))}")
    if as_json:
        _print_json(summary)
    else:
        _show(request.folder, summary, stages=request.price)


@app.command()
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
    _show(run, found, stages=True, devices=True, methods=method)


@app.command()
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
        _print_json(numbers(found))
        return
    out = console()
    draw(out, of_runs(found, out.width))


@app.command()
def paper(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Leave out for all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of rows on stdout.")] = False,
) -> None:
    """Headline figures of published papers beside ours, from the accounts that price a run."""
    from fedsim.papers.base import chosen
    from fedsim.report.layout import draw
    from fedsim.report.papers import comparison, records

    papers = chosen(name)
    if as_json:
        _print_json(records(papers))
        return
    for found in papers.values():
        draw(console(), comparison(found))


@app.command()
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
        _refuse({"--set": assignments, "--out": out, "--json": as_json}, "needs the NAME of a scenario")
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
        _print_json(report.as_json(found))
    else:
        for grid in (*report.makeup(found.fleet), report.demands(found)):
            draw(console(), grid)
    file = fleet_figure.save(found, out or Path(f"fleet-{loaded.scenario.name}.png"))
    console(stderr=True).print(f"picture: {file}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def calibrate(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="Leave out for a BERT of --sizes.")] = None,
    assignments: Assignments = None,
    method: Annotated[str | None, typer.Option(help="Whose training; the first if left out.")] = None,
    phase: Annotated[str | None, typer.Option(help="In which phase; the first if left out.")] = None,
    stage: Annotated[int | None, typer.Option(help="In which stage; the most costly one if left out.")] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="KEY=N,...", help="hidden, layers, ...; BERT-base but for those given.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples in a batch; as the scenario, or 8.")] = None,
    tokens: Annotated[int | None, typer.Option(min=3, help="Tokens in a sample; as the scenario, or 128.")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, max=86_400.0, help="How long to train.")] = 60.0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="What to train on.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the CPU; PyTorch's choice if left out.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Nothing is measured: what measure_device.py printed.")
    ] = None,
    label: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Write such a device class.")] = None,
    power_w: Annotated[float | None, typer.Option(help="Watts that it draws while it computes.")] = None,
    power_source: Annotated[str | None, typer.Option(metavar="TEXT", help="Where that number comes from.")] = None,
    memory_bytes: Annotated[
        int | None, typer.Option(help="Memory that training may use; as measured if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table of classes.")] = Path("device-classes.csv"),
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a class of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; logs on stderr.")] = False,
) -> None:
    """Measure how fast this machine trains, and write a class of devices for scenarios."""
    from fedsim.calibration import table
    from fedsim.calibration.request import Request, measured
    from fedsim.observe.terminal import observer_on
    from fedsim.report import calibration as report
    from fedsim.report.layout import draw

    if label is None:
        given = {"--power-w": power_w, "--power-source": power_source, "--memory-bytes": memory_bytes}
        _refuse({**given, "--replace": replace}, "goes with --class, the name of the device class to write")
    elif power_w is None:
        raise UserError("give the watts that the device draws: software cannot measure them", key="--power-w")
    else:
        table.check(label, out, replace)
    request = Request(name, tuple(assignments or ()), method, phase, stage, sizes, batch, tokens, seconds, device,
                      threads, file)  # fmt: skip
    with observer_on(console(stderr=True)) as observer:
        found = measured(request, observer)
    one = None
    if label is not None and power_w is not None:
        one = found.as_class(label, power_w, power_source, memory_bytes)
        table.add(one, out, replace)
    if as_json:
        _print_json(report.as_json(found, one))
    else:
        draw(console(), report.speeds(found))
    if one is not None:
        source = f"{{kind: catalog, classes: {out}, devices: {{{one.name}: 1}}}}"
        text = f"wrote {one.name} to {out}; use it: fleet.source: {source}"
        console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """The JSON Schema of scenario files."""
    from fedsim.scenario.editor import json_schema

    _print_json(json_schema(), indent=2)


def main() -> NoReturn:
    """Run the command line. Exit codes: 0; 2 what the user wrote; 1 what failed; 130 Ctrl-C; 143 SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII alone shows `?`, not a traceback
    try:
        app(standalone_mode=True)
    except Exception as error:
        from fedsim.report.failure import tell

        sys.exit(tell(console(stderr=True), error))
    sys.exit(0)


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


def _refuse(options: dict[str, Any], reason: str) -> None:
    for name, value in options.items():
        if value:
            raise UserError(reason, key=name)


def _starter(config: "EngineConfig", observer: "Observer") -> "Callable[[], Engine]":
    def start() -> "Engine":
        if config.kind == "inline":
            with observer.task("loading torch", None):
                from fedsim.engine.inline import InlineEngine

                return InlineEngine(config.device, config.precision)
        from fedsim.engine.ray_pool import RayEngine

        with observer.task("starting Ray" if config.address is None else "connecting to Ray", None):
            pool = RayEngine(
                config.hosts, config.address, config.device, config.precision, config.gpus_per_host, observer.note
            )
        hosts = f"{pool.hosts} host{'' if pool.hosts == 1 else 's'}"
        observer.note(f"Ray: {hosts}" + (f", dashboard at http://{pool.dashboard}" if pool.dashboard else ""))
        return pool

    return start


def _list_scenarios(as_json: bool) -> None:
    from fedsim.report.layout import Grid, draw
    from fedsim.scenario.shelf import listing

    rows = listing()
    if as_json:
        known = ({"path": str(r.path), "summary": r.summary, "clients": r.clients, "methods": r.methods} for r in rows)
        names = (row.name for row in rows if row.error is None)
        _print_json({"scenarios": dict(zip(names, known, strict=False))})
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


def _show(
    run: Path,
    summary: dict[str, Any],
    stages: bool,
    methods: Sequence[str] | None = None,
    *,
    devices: bool = False,
) -> None:
    from fedsim.report.compare import of_run
    from fedsim.report.devices import devices as class_grid
    from fedsim.report.failure import going_on
    from fedsim.report.layout import draw
    from fedsim.report.stages import stages as stage_grid
    from fedsim.run_folder import unfinished

    out, shown = console(), {name: own for name, own in summary["methods"].items() if not methods or name in methods}
    draw(out, of_run(shown, out.width, "prices only: nothing was trained" if summary.get("price") else ""))
    if stages and (trained := [name for name, numbers in shown.items() if numbers["rounds"]]):
        draw(out, stage_grid(run, trained))
        if devices:
            draw(out, class_grid(run, trained))
    opening = f"fedsim.read_run({str(run)!r}), or: python -m fedsim show {shlex.quote(str(run))}"
    closing = [f"run folder: {run}", f"open it:    {opening}"]
    if left := unfinished(run, summary):
        closing[1] = f"not ended:  {', '.join(left)}; go on with: {going_on(run)}"
    for line in closing:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any, indent: int | None = None) -> None:
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
    sys.stdout.flush()
