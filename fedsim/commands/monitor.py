"""`monitor`: Prometheus and Grafana for runs on Ray."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from fedsim.observe.console import console


def monitor(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the files.")] = Path("monitoring"),
    prometheus_port: Annotated[int, typer.Option(min=1, max=65_535, help="Prometheus listens there.")] = 9090,
    grafana_port: Annotated[int, typer.Option(min=1, max=65_535, help="Grafana listens there.")] = 3000,
) -> None:
    """Write what Prometheus and Grafana need to show runs on Ray, and say how to start them."""
    from fedsim.monitor.provision import Provision, running

    found = Provision(out.absolute(), prometheus_port, grafana_port)
    programs = (
        ("Prometheus", found.prometheus, found.prometheus_url, (prometheus_port, "/-/healthy", "--prometheus-port")),
        ("Grafana", found.grafana, found.grafana_url, (grafana_port, "/api/health", "--grafana-port")),
    )
    up = [running(*listening) for *_, listening in programs]
    found.write()
    lines = [f"wrote prometheus.yml, grafana.ini, provisioning/ and dashboards/ to {out}"]
    for (name, command, url, _), here in zip(programs, up, strict=True):
        missing = "" if shutil.which(command[0]) else f"  (no {command[0]} on this machine's path)"
        lines.append(f"{name} is running at {url}" if here else f"start {name}:{missing}\n  {shlex.join(command)}")
    told = f"RAY_PROMETHEUS_HOST={found.prometheus_url} RAY_GRAFANA_HOST={found.grafana_url}"
    lines += [
        f"then run a scenario on Ray, and open {found.page}",
        f"pictures within Ray's dashboard: start Ray with\n  {told}",
    ]
    for line in lines:
        console().print(line, markup=False, highlight=False, soft_wrap=True)
