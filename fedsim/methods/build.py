"""From a scenario's entry to the method it names."""

from fedsim.methods.base import Method
from fedsim.methods.centralized import CENTRALIZED
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.fedbt import FedBT
from fedsim.scenario import methods as options
from fedsim.scenario.methods import MethodSpec


def build(spec: MethodSpec) -> Method:
    """The method that a scenario's entry describes."""
    if isinstance(spec, options.FedBT):
        return FedBT(spec)
    return CENTRALIZED if isinstance(spec, options.Centralized) else FedAvg()
