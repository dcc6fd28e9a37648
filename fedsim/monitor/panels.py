"""What Grafana draws of the series."""

from dataclasses import dataclass
from typing import Literal

from fedsim.monitor.series import SERIES

CHOSEN = 'run=~"$run",method=~"$method"'
"""Every query is of the runs and methods that are chosen at the top of the page."""
NAMES = {series.name: series.exported for series in SERIES}
LINE = "{{run}} {{method}}"
PHASE = f"{LINE} {{{{phase}}}}"
"""What lines are called."""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """PromQL, and what its lines are called."""
    unit: str = "short"
    """As Grafana knows it; bytes are decimal."""
    kind: Literal["timeseries", "bargauge"] = "timeseries"
    stacked: bool = False


def _of(name: str, *conditions: str, suffix: str = "") -> str:
    """A series of the chosen runs."""
    return f"{NAMES[name]}{suffix}{{{','.join((CHOSEN, *conditions))}}}"


def _by(labels: str, name: str, *conditions: str) -> str:
    return f"sum by ({labels}) ({_of(name, *conditions)})"


def _highest(name: str) -> str:
    """Over the phases of something that only grows: what was recorded last."""
    return f"max by (run, method) ({_of(name)})"


def _spent(title: str, name: str, unit: str, *conditions: str) -> Panel:
    """What was spent so far, useful below and wasted on top."""
    return Panel(title, ((_by("run, method, use", name, *conditions), f"{LINE} {{{{use}}}}"),), unit, stacked=True)


def _quantiles(title: str, name: str) -> Panel:
    rate = f"sum by (le, run, method) (rate({_of(name, suffix='_bucket')}[5m]))"
    queries = tuple((f"histogram_quantile({q}, {rate})", f"{LINE} {int(100 * q)} %") for q in (0.5, 0.95))
    return Panel(title, queries, "s")


_DONE = _by("run, method, device", "fedsim_trips", 'outcome="completed"')
_STORED = 'sum by (instance) (ray_object_store_memory{Location=~"MMAP.*"})'

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "How far",
        (
            Panel(
                "Rounds done",
                ((f"{_highest('fedsim_round')} / {_highest('fedsim_rounds')}", LINE),),
                "percentunit",
                "bargauge",
            ),
            Panel("Round", ((_highest("fedsim_round"), LINE),)),
            Panel("Stage of the phase", ((_of("fedsim_stage"), PHASE),)),
            Panel("Simulated time", ((_highest("fedsim_simulated_seconds"), LINE),), "s"),
        ),
    ),
    (
        "What it reaches",
        (
            Panel("Training loss", ((_of("fedsim_loss"), PHASE),)),
            Panel("Quality", ((_of("fedsim_quality"), f"{PHASE} {{{{metric}}}}"),)),
        ),
    ),
    (
        "What it costs the devices",
        (
            _spent("Uploaded", "fedsim_traffic_bytes", "decbytes", 'direction="up"'),
            _spent("Downloaded", "fedsim_traffic_bytes", "decbytes", 'direction="down"'),
            _spent("FLOPs, forward", "fedsim_flops", "short", 'pass="forward"'),
            _spent("FLOPs, backward", "fedsim_flops", "short", 'pass="backward"'),
            _spent("Device time", "fedsim_device_seconds", "s"),
            Panel("Energy of devices", ((_by("run, method", "fedsim_energy_joules"), LINE),), "joule"),
            Panel("FLOPs of the server", ((_by("run, method", "fedsim_server_flops"), LINE),)),
        ),
    ),
    (
        "Who takes part",
        (
            Panel("Cohort", ((_of("fedsim_cohort"), PHASE),)),
            Panel(
                "Trips by outcome",
                ((_by("run, method, outcome", "fedsim_trips"), f"{LINE} {{{{outcome}}}}"),),
                stacked=True,
            ),
            Panel(
                "Share of trips that complete, by device class",
                ((f"{_DONE} / {_by('run, method, device', 'fedsim_trips')}", f"{LINE} {{{{device}}}}"),),
                "percentunit",
            ),
        ),
    ),
    (
        "The machines that simulate",
        (
            Panel("Hosts", ((_of("fedsim_hosts"), PHASE),)),
            Panel("Share of the hosts' time that trains", ((_of("fedsim_host_utilisation"), PHASE),), "percentunit"),
            Panel(
                "Object store",
                ((_of("fedsim_published_bytes"), f"{PHASE} groups"), (_STORED, "{{instance}} all")),
                "decbytes",
            ),
            _quantiles("Real time of a round", "fedsim_round_seconds"),
            _quantiles("Simulated time of a round", "fedsim_round_simulated_seconds"),
        ),
    ),
)
"""The page from top to bottom."""
