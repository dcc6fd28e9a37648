"""Devices that vanish in the middle of a trip: the longer it takes, the likelier.

Every cause (the app is closed, the battery is empty, the connection breaks) comes at a constant hazard, in events a
second; hazards of independent causes add up, and a trip of t seconds survives with probability exp(-hazard * t).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.errors import UserError, choose
from fedsim.fleet.devices import Fleet, FloatArray


@dataclass(frozen=True, eq=False)
class Dropout:
    """How soon devices vanish."""

    hazard_per_s: FloatArray
    """Of each device of the fleet, [devices]."""
    seed: int
    """The scenario's seed."""

    def lifetime_s(self, devices: IntArray, *turn: str | int) -> FloatArray:
        """Seconds from the start of a trip to the moment the device vanishes, [n]; infinite where it never does.

        Args:
            devices: Distinct devices.
            turn: What the trips belong to, e.g. the phase and the round. The same device in the same turn has the same
                fate, whoever else takes part.
        """
        waits: FloatArray = -np.log(rng.field(self.seed, "dropout", *turn).at(devices)[0])
        hazard = self.hazard_per_s[devices]
        lives: FloatArray = np.divide(waits, hazard, out=np.full(len(devices), np.inf), where=hazard > 0)
        return lives


def hazards(fleet: Fleet, per_s: float, devices: Mapping[str, float], networks: Mapping[str, float]) -> FloatArray:
    """Each device's hazard: what all have in common, plus that of its device class, plus that of its network class.

    Args:
        fleet: All devices.
        per_s: Hazard that all have.
        devices: Further hazard by device class; a class that is not named has none.
        networks: Further hazard by network class.

    Raises:
        UserError: The fleet has no such class, or a hazard is below 0 or not a number.
    """
    total = np.full(len(fleet), _checked(per_s, "fleet.dropout.per_s"))
    kinds = (("devices", devices, fleet.devices, fleet.device), ("networks", networks, fleet.networks, fleet.network))
    for key, own, names, codes in kinds:
        for name, value in own.items():
            if name not in names:
                fault = f"the fleet has no class '{name}'; {choose(name, names)}"
                raise UserError(fault, key=f"fleet.dropout.{key}.{name}")
            total[codes == names.index(name)] += _checked(value, f"fleet.dropout.{key}.{name}")
    return total


def _checked(hazard_per_s: float, key: str) -> float:
    if not 0 <= hazard_per_s < np.inf:
        raise UserError(f"is {hazard_per_s:g}, it must be a number from 0 on", key=key)
    return hazard_per_s
