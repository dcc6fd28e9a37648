"""The command line: its commands, and what is told when one fails."""

import sys
from typing import NoReturn

import typer

from fedsim.commands import calibrate, export, fleet, monitor, paper, report, scenario, schema, show, watch
from fedsim.observe.console import console

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate federated pre-training and fine-tuning of Transformers on fleets of unequal devices.",
)
app.command()(scenario.scenario)
app.command()(show.show)
app.command()(show.compare)
app.command()(watch.watch)
app.command()(report.report)
app.command()(export.export)
app.command()(paper.paper)
app.command()(fleet.fleet)
app.command()(calibrate.calibrate)
app.command()(monitor.monitor)
app.command()(schema.schema)


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
