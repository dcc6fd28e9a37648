"""Small tasks that need no data."""

from fedsim.engine.tasks import MeasureTask
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.scenario.phases import Optimizer

ARCHITECTURE = Architecture("bert", 50, 8, 2, 2, 16, 16, 0.1)


def measure(index: int, cost: float = 1.0, prefix: str = "", **groups: int) -> MeasureTask:
    """Memory of a tiny model; `groups` are published names with the version that the task wants."""
    shape = LocalShape(ARCHITECTURE, Head("mlm"), 2, (0, 1), True, True)
    return MeasureTask(index, cost, shape, prefix, groups, Optimizer())
