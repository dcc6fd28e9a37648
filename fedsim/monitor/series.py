"""The one table of the numbers that Prometheus gets of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from fedsim.observe.observer import RoundReport

COMMON = ("run", "scenario", "method", "phase")
"""Labels of every series. There is none for a client: a fleet of a million would be a million series."""

Values = Iterator[tuple[tuple[str, ...], float]]
"""Values of a series' own labels, and the number."""


@dataclass(frozen=True)
class Series:
    """A number that is recorded once a round."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    """A counter is given what a round adds, a gauge what now holds, a histogram what one round took."""
    meaning: str
    read: Callable[[RoundReport], Values]
    labels: tuple[str, ...] = ()
    """Besides the common ones."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""

    @property
    def exported(self) -> str:
        """As it is named in Prometheus; a histogram has three series of this name: _bucket, _count, _sum."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


def _one(read: Callable[[RoundReport], float]) -> Callable[[RoundReport], Values]:
    def values(report: RoundReport) -> Values:
        yield (), read(report)

    return values


def _split(wasted: int, whole: int, *labels: str) -> Values:
    """What was spent, useful and wasted apart."""
    yield (*labels, "useful"), whole - wasted
    yield (*labels, "wasted"), wasted


def _traffic(report: RoundReport) -> Values:
    yield from _split(report.spent.wasted_upload_bytes, report.spent.upload_bytes, "up")
    yield from _split(report.spent.wasted_download_bytes, report.spent.download_bytes, "down")


def _flops(report: RoundReport) -> Values:
    yield from _split(report.spent.wasted_flops_forward, report.spent.flops_forward, "forward")
    yield from _split(report.spent.wasted_flops_backward, report.spent.flops_backward, "backward")


def _server_flops(report: RoundReport) -> Values:
    yield ("forward",), report.spent.server_flops_forward
    yield ("backward",), report.spent.server_flops_backward


def _device_seconds(report: RoundReport) -> Values:
    wasted_s = report.spent.wasted_device_seconds
    yield ("useful",), report.spent.device_seconds - wasted_s
    yield ("wasted",), wasted_s


def _loss(report: RoundReport) -> Values:
    if report.loss is not None:
        yield (), report.loss


def _quality(report: RoundReport) -> Values:
    for name, value in report.quality.items():
        phase, _, metric = name.partition("/")
        if phase == report.phase:
            yield (metric,), value


def _utilisation(report: RoundReport) -> Values:
    if report.hosts and report.seconds:
        yield (), report.utilisation


SERIES = (
    Series("fedsim_round", "gauge", "rounds that are over", _one(lambda r: r.round)),
    Series("fedsim_rounds", "gauge", "rounds that the method will have", _one(lambda r: r.rounds)),
    Series("fedsim_stage", "gauge", "stage within the phase, from 0", _one(lambda r: r.stage_index)),
    Series("fedsim_cohort", "gauge", "clients picked for the last round", _one(lambda r: r.cohort)),
    Series("fedsim_loss", "gauge", "training loss of the last round, nat", _loss),
    Series("fedsim_quality", "gauge", "metrics of the last evaluation of a phase", _quality, ("metric",)),
    Series("fedsim_simulated_seconds", "gauge", "simulated time since the method began", _one(lambda r: r.simulated_s)),
    Series("fedsim_traffic_bytes", "counter", "bytes sent and received by devices", _traffic, ("direction", "use")),
    Series("fedsim_flops", "counter", "FLOPs of devices", _flops, ("pass", "use")),
    Series("fedsim_server_flops", "counter", "FLOPs of the server", _server_flops, ("pass",)),
    Series("fedsim_device_seconds", "counter", "simulated time of devices on trips", _device_seconds, ("use",)),
    Series("fedsim_energy_joules", "counter", "energy of devices on trips", _one(lambda r: r.spent.energy_j)),
    Series("fedsim_trips", "counter", "trips", lambda r: iter(r.outcomes.items()), ("device", "outcome")),
    Series("fedsim_hosts", "gauge", "Ray hosts", _one(lambda r: r.hosts)),
    Series("fedsim_host_utilisation", "gauge", "share of the hosts' time in the last round that trained", _utilisation),
    Series("fedsim_published_bytes", "gauge", "groups in Ray's object store", _one(lambda r: r.published_bytes)),
    Series(
        "fedsim_round_seconds",
        "histogram",
        "real time of a round",
        _one(lambda r: r.seconds),
        bounds=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    ),
    Series(
        "fedsim_round_simulated_seconds",
        "histogram",
        "simulated time of a round",
        _one(lambda r: r.round_s),
        bounds=(1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5),
    ),
)
"""In the order of the documentation."""
