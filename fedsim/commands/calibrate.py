"""`calibrate`: how fast this machine trains."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedsim.commands.options import Assignments, print_json, refuse
from fedsim.errors import UserError
from fedsim.observe.console import console


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
        refuse({**given, "--replace": replace}, "goes with --class, the name of the device class to write")
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
        print_json(report.as_json(found, one))
    else:
        draw(console(), report.speeds(found))
    if one is not None:
        source = f"{{kind: catalog, classes: {out}, devices: {{{one.name}: 1}}}}"
        text = f"wrote {one.name} to {out}; use it: fleet.source: {source}"
        console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
