"""What methods share whose stages follow a rule: rounds in whole numbers, names of layers, and what does not fit."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from fedsim.scenario.base import Problem
from fedsim.scenario.phases import FederatedPhase, PhaseKind, Phases


class Schedule(Protocol):
    """A method's options for one kind of phase."""

    def misfits(self, phase: FederatedPhase, layers: int, of: str) -> Iterator[Problem]:
        """What does not fit this phase, and so many layers; `of` says what has them."""


def misfits(
    schedules: Mapping[PhaseKind, Schedule], phases: Phases, layers: int, of: str = "the global model"
) -> Iterator[Problem]:
    """What the schedules find in the scenario's phases; what holds in several of them is said once."""
    yield from dict.fromkeys(
        Problem((phase.kind, *problem.key), problem.message)
        for phase in phases.federated
        for problem in schedules[phase.kind].misfits(phase, layers, of)
    )


def apportion(rounds: int, shares: Sequence[int]) -> list[int]:
    """Whole rounds in proportion to the shares, none without a round; they add up to `rounds`.

    By largest remainder: each part is its exact share rounded down or up, and what is left goes to the largest
    fractions, the earlier part first where they are equal. A part that would have no round takes one from the largest.

    Raises:
        ValueError: fewer rounds than shares.
    """
    if rounds < len(shares):
        raise ValueError(f"{rounds} rounds are too few for {len(shares)} parts")
    whole = sum(shares)
    parts = [rounds * share // whole for share in shares]
    fractions = [rounds * share % whole for share in shares]
    for index in sorted(range(len(shares)), key=lambda i: -fractions[i])[: rounds - sum(parts)]:
        parts[index] += 1
    for index, part in enumerate(parts):
        if part == 0:
            parts[parts.index(max(parts))] -= 1
            parts[index] = 1
    return parts


def listed(stage_rounds: Sequence[int], stages: int, rounds: int, phase: str) -> Iterator[Problem]:
    """What is wrong with rounds that are given stage by stage."""
    if len(stage_rounds) != stages:
        yield Problem(("stage_rounds",), f"lists {len(stage_rounds)} stages, there are {stages}")
    elif sum(stage_rounds) != rounds:
        yield Problem(("stage_rounds",), f"adds up to {sum(stage_rounds)} rounds, {phase} has {rounds}")


def named(layers: Sequence[int]) -> str:
    """Layers in ascending order, for people."""
    starts = [place for place, index in enumerate(layers) if index - 1 not in layers]
    runs = [layers[start:stop] for start, stop in pairwise([*starts, len(layers)])]
    return ", ".join(f"layer {run[0]}" if len(run) == 1 else f"layers {run[0]}-{run[-1]}" for run in runs)
