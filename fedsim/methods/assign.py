"""Which of several plans a client is given: by what its device can hold, by its speed, or by a list.

For methods whose plans differ in size (depth, width). Plans are numbered from the smallest, 0, to the largest.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.errors import UserError, choose
from fedsim.fleet.deal import FloatArray, largest_remainder
from fedsim.methods.base import Federated, Fit, Stage
from fedsim.scenario.base import Config, Positive, Problem, Text, Whole

if TYPE_CHECKING:
    from fedsim.fleet.devices import Fleet


class Assignment(Config):
    """How clients are matched with plans of different sizes."""

    by: Literal["memory", "speed", "shares", "devices"] = "memory"
    """`memory`: the largest plan that the device can hold and that the deadline leaves time for; `speed`: the quicker
    the device is among those of the fleet, the larger the plan; `shares`: drawn, once for each client; `devices`: as
    listed for its class."""
    shares: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """`speed` and `shares`: how much of the fleet is given each plan, the smallest plan first; null: equal shares."""
    devices: dict[Text, Whole] | None = None
    """`devices`: the plan of each device class, by its number; 0 is the smallest."""

    def problems(self) -> Iterator[Problem]:
        """Nothing is set that this way of choosing does not look at."""
        if self.shares is not None and self.by not in ("speed", "shares"):
            yield Problem(("shares",), f"goes with by: speed, shares; by is {self.by}")
        if self.devices is not None and self.by != "devices":
            yield Problem(("devices",), f"goes with by: devices; by is {self.by}")
        if self.devices is None and self.by == "devices":
            yield Problem(("devices",), "is required with by: devices; list a plan for every device class of the fleet")

    def misfits(self, plans: int) -> Iterator[Problem]:
        """What is wrong when there are this many plans."""
        if self.shares is not None and len(self.shares) != plans:
            yield Problem(("shares",), f"lists {len(self.shares)} shares, there are {plans} plans")
        for name, plan in (self.devices or {}).items():
            if plan >= plans:
                yield Problem(("devices", name), f"is plan {plan}, the plans are 0 to {plans - 1}")


def check_classes(assignment: Assignment, fleet: "Fleet", key: str) -> None:
    """Every device class of the fleet has a plan, where plans go by class.

    Raises:
        UserError: one has none; `key` is where the scenario lists them.
    """
    for name in fleet.devices if assignment.devices is not None else ():
        if name not in (assignment.devices or {}):
            raise UserError(
                f"has no plan for the fleet's class '{name}'; {choose(name, assignment.devices or {})}", key=key
            )


class Sized(Federated):
    """Options of methods whose stages have plans of different sizes."""

    assignment: Assignment = Assignment()
    """Which of the plans a client is given."""

    def assign(self, stage: Stage, fit: Fit) -> IntArray:
        """As `assignment` says, [n]."""
        option, plans = self.assignment, len(stage.plans)
        shares = np.array(option.shares or (1.0,) * plans)
        if option.by == "memory":
            return by_memory(fit.memory_bytes, fit.seconds, fit.devices.memory_bytes, fit.deadline_s)
        if option.by == "speed":
            return by_speed(fit.devices.flops_per_s, fit.fleet.flops_per_s, shares)
        if option.by == "shares":
            return by_shares(fit.clients, len(fit.fleet), shares, fit.seed)
        given = [(option.devices or {})[name] for name in fit.devices.devices]
        return np.array(given, np.int64)[fit.devices.device]


def by_memory(memory_bytes: IntArray, seconds: FloatArray, device: IntArray, deadline_s: float | None) -> IntArray:
    """The largest plan that each of n devices can hold and that it ends in time; plan 0 where none is.

    Args:
        memory_bytes: peak memory of each plan on each device's data, [plans, n].
        seconds: duration of the whole trip, [plans, n].
        device: memory of the devices, [n].
        deadline_s: longest time a trip may take; None: no limit.
    """
    fits = (memory_bytes <= device) & (seconds <= (np.inf if deadline_s is None else deadline_s))
    numbers = np.arange(len(fits))[:, None]
    largest: IntArray = np.where(fits, numbers, 0).max(0)
    return largest


def by_speed(speed: FloatArray, fleet: FloatArray, shares: FloatArray) -> IntArray:
    """The plan of devices of these speeds [n]: the slowest share of the fleet [clients] is given plan 0, and so on.

    Devices of one speed are given the same plan, so shares are met as nearly as speeds differ.
    """
    bounds = np.quantile(fleet, np.cumsum(shares / shares.sum())[:-1], method="lower")
    return np.searchsorted(bounds, speed, side="left").astype(np.int64)


def by_shares(clients: IntArray, total: int, shares: FloatArray, seed: int) -> IntArray:
    """The plans of these clients [n] out of `total`, drawn once for the whole fleet in exactly these shares."""
    return _dealt(total, tuple(shares.tolist()), seed)[clients].astype(np.int64)


@lru_cache(maxsize=4)
def _dealt(total: int, shares: tuple[float, ...], seed: int) -> npt.NDArray[np.int16]:
    counts = largest_remainder(np.array(shares), total)
    plans = np.repeat(np.arange(len(shares), dtype=np.int16), counts)
    rng.stream(seed, "assign").shuffle(plans)
    return plans
