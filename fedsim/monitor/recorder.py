"""The observer that hands a run's numbers to Ray, which exports them for Prometheus."""

from collections.abc import Callable
from typing import Any

from fedsim.monitor.series import COMMON, SERIES, Series
from fedsim.observe.observer import RoundReport, Silent


class Recorder(Silent):
    """Records every series once a round. Ray must run by the first one."""

    def __init__(self, run: str, scenario: str) -> None:
        self._tags = {"run": run, "scenario": scenario}
        self._record: list[tuple[Series, Callable[[float, dict[str, str]], None]]] = []

    def round(self, report: RoundReport) -> None:
        """Record what the round has come to."""
        self._record = self._record or [(series, _recording(series)) for series in SERIES]
        tags = self._tags | {"method": report.method, "phase": report.phase}
        for series, record in self._record:
            for labels, value in series.read(report):
                if value or series.kind != "counter":  # a counter refuses to stand still
                    record(float(value), tags | dict(zip(series.labels, labels, strict=True)))


def _recording(series: Series) -> Callable[[float, dict[str, str]], None]:
    from ray.util.metrics import Counter, Gauge, Histogram

    about: dict[str, Any] = {"description": series.meaning, "tag_keys": (*COMMON, *series.labels)}
    if series.kind == "counter":
        return Counter(series.name, **about).inc
    if series.kind == "gauge":
        return Gauge(series.name, **about).set
    return Histogram(series.name, boundaries=list(series.bounds), **about).observe
