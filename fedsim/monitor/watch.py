"""What of a run is shown by Ray's tools: its name in the job table, its numbers."""

from fedsim.monitor.recorder import Recorder
from fedsim.observe.observer import Observer, Several
from fedsim.scenario.engine import Engine
from fedsim.simulation import Request


def watched(shown: Observer, request: Request, config: Engine | None) -> Observer:
    """An observer that records the run's numbers too, where it is on Ray and they are wanted."""
    if config is None or config.kind != "ray" or not config.metrics:
        return shown
    return Several([shown, Recorder(request.folder.resolve().name, request.scenario.name)])


def job(request: Request) -> dict[str, str]:
    """What Ray's job table says of the run; `job_name` is the column that the dashboard shows."""
    return {
        "job_name": request.folder.resolve().name,
        "fedsim_run": str(request.folder.resolve()),
        "fedsim_scenario": request.scenario.name,
        "fedsim_methods": ", ".join(request.methods or request.scenario.methods),
    }
