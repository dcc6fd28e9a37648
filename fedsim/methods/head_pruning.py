"""Pruning of attention heads by importance (Michel, Levy, Neubig 2019), measured on clients, once for all.

Until then the whole model is trained as in FedAvg, and afterwards the smaller one.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from fedsim.methods.base import Federated, PhaseName, Pruning, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.base import Count, Problem, Share
from fedsim.scenario.phases import Phases


class HeadPruning(Federated):
    """FedAvg that loses its unimportant attention heads on the way (Michel, Levy, Neubig 2019)."""

    kind: Literal["head_pruning"] = "head_pruning"
    phase: PhaseName = "finetune"
    """The phase in which heads are pruned."""
    after_rounds: Count = 1
    """Rounds of that phase in which the model still has all of its heads."""
    measured_rounds: Count = 1
    """The last of them, so many, in which clients measure how important each head is."""
    threshold: Share = 0.2
    """A head stays where its importance is at least this, its layer's importances having the norm 1."""
    heads: Count | None = None
    """Keep so many heads of every layer, the most important ones, instead of asking for a threshold."""

    def problems(self) -> Iterator[Problem]:
        """Measuring comes before pruning, and there is one rule."""
        yield from super().problems()
        if self.measured_rounds > self.after_rounds:
            yield Problem(("measured_rounds",), f"is {self.measured_rounds}, after_rounds is {self.after_rounds}")
        if self.heads is not None and self.changed("threshold"):
            yield Problem(("threshold",), "does not go with `heads`: give one of them")

    def phase_problems(self, phases: Phases) -> Iterator[Problem]:
        """The phase is there, once, and something is trained without the pruned heads."""
        found = [phase.config.rounds for phase in phases.federated if phase.kind == self.phase]
        if not found:
            yield Problem(("phase",), f"is {self.phase}, which this scenario does not have")
        elif len(found) > 1:
            yield Problem(("phase",), f"is {self.phase}, of which there are {len(found)}: heads are pruned once")
        elif self.after_rounds >= found[0]:
            rounds = f"phases.{self.phase} ({found[0]})"
            yield Problem(("after_rounds",), f"is {self.after_rounds}: must leave a round of {rounds}")

    def width_problems(self, heads: int, units: int) -> Iterator[Problem]:
        """A layer has the heads that are to be kept."""
        if self.heads is not None and self.heads > heads:
            yield Problem(("heads",), f"is {self.heads}, a layer has {heads}")

    def unpriced(self) -> str | None:
        """How many heads pass a threshold is known when they are measured."""
        if self.heads is not None:
            return None
        return "has no price without training: how many heads pass the threshold is measured; give `heads` instead"

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """All heads, all heads and measuring, and what is left of them; other phases have one stage."""
        plans = (full(architecture.layers),)
        if phase != self.phase:
            return [Stage(rounds, plans, "full model")]
        before = self.after_rounds - self.measured_rounds
        stages = [Stage(before, plans, "full model")] if before else []
        rule = Pruning(self.threshold, self.heads)
        return [
            *stages,
            Stage(self.measured_rounds, plans, "full model, heads measured", measured=True),
            Stage(rounds - self.after_rounds, plans, "full model, heads pruned", pruning=rule),
        ]
