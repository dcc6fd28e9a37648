"""HeteroFL (Diao, Ding, Tarokh, ICLR 2021) and FedRolex (Alam, Liu, Yan, Zhang, NeurIPS 2022): narrower local models.

A client trains a share of every layer's attention heads and feed-forward units. HeteroFL takes the first ones, so that
smaller models lie within larger ones; FedRolex moves on by one in every round, so that all of the global model is
trained even where no device can hold it. The server averages every entry over the clients that hold it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.methods.assign import Sized
from fedsim.methods.base import PhaseName, Stage
from fedsim.model.architecture import Architecture, Head, part_of
from fedsim.plan import Layers, Plan, Width
from fedsim.scenario.base import Count, Flag, Problem

WidthRate = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]


class HeteroFL(Sized):
    """Narrower local models for weaker devices (HeteroFL, Diao et al. 2021; FedRolex, Alam et al. 2022)."""

    kind: Literal["heterofl"] = "heterofl"
    rates: Annotated[tuple[WidthRate, ...], Field(min_length=1)] = (0.25, 0.5, 1.0)
    """Shares of each layer's attention heads and feed-forward units that local models have, the smallest first."""
    window: Literal["nested", "rolling"] = "nested"
    """`nested`: the first heads and units (HeteroFL); `rolling`: in every round the next ones (FedRolex)."""
    roll_units: Count = 1
    """`rolling`: feed-forward units by which the window moves in a round; heads move by one."""
    scale: Flag = True
    """What fewer heads and units give is multiplied by 1 / rate in training (HeteroFL's scaler)."""

    def problems(self) -> Iterator[Problem]:
        """Rates rise, and nothing is asked for that partly held layers do not allow."""
        yield from super().problems()
        if any(small >= large for small, large in pairwise(self.rates)):
            yield Problem(("rates",), "must rise: list the smallest first, and each once")
        if self.changed("roll_units") and self.window != "rolling":
            yield Problem(("roll_units",), f"goes with window: rolling, window is {self.window}")
        if self.optimizer_state == "keep" and self.window == "rolling":
            yield Problem(("optimizer_state",), "keep goes with window: nested: a rolling window has other parameters")
        if self.server.kind != "average":
            yield Problem(
                ("server", "kind"), "must be average: a step would also move entries that no client of a round held"
            )
        for problem in self.assignment.misfits(len(self.rates)):
            yield Problem(("assignment", *problem.key), problem.message)

    def width_problems(self, heads: int, units: int) -> Iterator[Problem]:
        """Every rate leaves something of a layer."""
        for index, rate in enumerate(self.rates):
            for what, count in (("attention head", heads), ("feed-forward unit", units)):
                if not part_of(count, rate):
                    yield Problem(("rates", index), f"leaves no {what} of {count}: must be at least {1 / count:.4g}")

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage with a plan for each rate."""
        layers = tuple(range(architecture.layers))
        roll = self.roll_units if self.window == "rolling" else 0
        plans = tuple(
            Plan(Layers(layers), layers, True, True, full_pool=False, width=Width(rate, roll, self.scale))
            for rate in self.rates
        )
        return [Stage(rounds, plans, f"width {', '.join(f'{rate:g}' for rate in self.rates)}")]
