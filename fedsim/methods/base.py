"""The seam every method fits: from a phase's rounds to stages with a plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fedsim.plan import Plan

PhaseName = Literal["further_pretrain", "finetune"]


@dataclass(frozen=True)
class Stage:
    """Consecutive rounds in which a method trains the same part of the model."""

    rounds: int
    plan: Plan
    label: str
    """What is trained, for people."""


class Method(Protocol):
    """Pure: the same arguments give the same stages."""

    @property
    def pooled(self) -> bool:
        """The cohort's data is trained in one place; nothing is sent."""

    def stages(self, phase: PhaseName, rounds: int, layers: int) -> Sequence[Stage]:
        """The stages of a phase for a global model of `layers` layers; their rounds add up to `rounds`."""


def merge_equal(stages: Sequence[Stage]) -> list[Stage]:
    """Join neighbouring stages with the same plan."""
    joined: list[Stage] = []
    for stage in stages:
        if joined and joined[-1].plan == stage.plan:
            joined[-1] = Stage(joined[-1].rounds + stage.rounds, stage.plan, stage.label)
        else:
            joined.append(stage)
    return joined
