"""DepthFL (Kim et al. 2023): less deep local models for weaker devices, with a head at every depth.

A client trains the lowest layers of the global model, as many as its device allows, and the heads on them. The server
averages every group over the clients that sent it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from fedsim.methods.assign import Sized
from fedsim.methods.base import PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import HEAD, Layers, Plan, exit_head
from fedsim.scenario.base import Count, NonNegative, Problem


class DepthFL(Sized):
    """Less deep local models for weaker devices, a head for each depth (Kim et al. 2023)."""

    kind: Literal["depthfl"] = "depthfl"
    depths: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Layers that local models have, the fewest first and the whole model last; null: quarters of it."""
    heads: Literal["all", "own"] = "all"
    """A client trains a head at each of the depths up to its own (DepthFL), or the one at its own depth."""
    distillation: NonNegative | None = None
    """Weight of what a client's heads learn from each other; null: 1, and 0 where there is one head."""

    def problems(self) -> Iterator[Problem]:
        """Depths rise, and heads that learn from each other are several."""
        yield from super().problems()
        if self.depths is not None and any(few >= more for few, more in pairwise(self.depths)):
            yield Problem(("depths",), "must rise: list the fewest layers first, and each number once")
        if self.distillation and self.heads == "own":
            yield Problem(("distillation",), "goes with heads: all: one head has nobody to learn from")

    def depth_problems(self, layers: int) -> Iterator[Problem]:
        """The deepest local model is the global one, or its upper layers would never be trained."""
        depths = self._depths(layers)
        if depths[-1] != layers:
            yield Problem(("depths",), f"must end with the {layers} layers of the global model; ends with {depths[-1]}")
        for problem in self.assignment.misfits(len(depths)):
            yield Problem(("assignment", *problem.key), problem.message)

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage with a plan for each depth."""
        depths = self._depths(architecture.layers)
        plans = tuple(self._plan(depth, depths) for depth in depths)
        return [Stage(rounds, plans, f"depth {', '.join(map(str, depths))}")]

    def _depths(self, layers: int) -> tuple[int, ...]:
        return self.depths or tuple(sorted({-(-layers * quarter // 4) for quarter in (1, 2, 3, 4)}))

    def _plan(self, depth: int, depths: tuple[int, ...]) -> Plan:
        layers = tuple(range(depth))
        exits = tuple(other for other in depths if other < depth) if self.heads == "all" else ()
        weight = 1.0 if self.distillation is None else self.distillation
        return Plan(
            Layers(layers),
            layers,
            train_embeddings=True,
            train_head=True,
            full_pool=False,
            top=HEAD if depth == depths[-1] else exit_head(depth),
            exits=exits,
            mutual=weight if exits else 0.0,
        )
