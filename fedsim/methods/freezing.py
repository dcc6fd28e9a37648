"""Layers frozen from below by a schedule: a frozen layer is neither trained nor sent.

Early layers settle first, and a frozen prefix needs no backward pass. Here the rounds say when a layer freezes, as in
the layer freezing of MosaicML's Composer; AutoFreeze (Liu et al. 2021, arXiv 2102.01386) lets gradients decide.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.methods.schedules import misfits, named
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import Layers, Plan, full
from fedsim.scenario.base import Config, Problem, Rate, Whole, dotted
from fedsim.scenario.phases import FederatedPhase, Phases


class Schedule(Config):
    """When what freezes in a phase; rounds count from 0 within the phase."""

    start: Rate = 0.5
    """Share of the rounds after which embeddings and layers freeze one by one, evenly spaced; the top layer never."""
    embeddings_round: Whole | None = None
    """Round from which the embeddings are frozen; null: with layer 0."""
    layer_rounds: Annotated[tuple[Whole, ...], Field(min_length=1)] | None = None
    """Rounds from which layer 0, layer 1 ... are frozen; layers without an entry never freeze."""

    def problems(self) -> Iterator[Problem]:
        """From below, and by one rule."""
        if self.changed("start") and not self.even:
            yield Problem(("start",), "is not used where embeddings_round or layer_rounds are given: remove it")
        rounds = self.layer_rounds or ()
        if not all(a <= b for a, b in pairwise(rounds)):
            yield Problem(("layer_rounds",), f"must not descend: layers freeze from below; given {_listed(rounds)}")
        elif self.embeddings_round is not None and rounds and self.embeddings_round > rounds[0]:
            text = f"is {self.embeddings_round}, but layer 0 above them freezes in round {rounds[0]}"
            yield Problem(("embeddings_round",), text)

    @property
    def even(self) -> bool:
        """The rounds follow from `start`."""
        return self.embeddings_round is None and self.layer_rounds is None

    def misfits(self, phase: FederatedPhase, layers: int, of: str) -> Iterator[Problem]:
        """What does not fit this phase, and so many layers; `of` says what has them."""
        rounds, name = phase.config.rounds, dotted(phase.key)
        given = self.layer_rounds or ()
        if len(given) > layers:
            yield Problem(("layer_rounds",), f"lists {len(given)} layers, {of} has {layers}")
        latest = {"embeddings_round": self.embeddings_round or 0, "layer_rounds": max(given, default=0)}
        for option, round_ in latest.items():
            if round_ >= rounds:
                yield Problem((option,), f"names round {round_}, {name} has rounds 0 to {rounds - 1}")

    def freezes(self, rounds: int, layers: int) -> tuple[int, tuple[int, ...]]:
        """Rounds from which the embeddings, and layer 0, 1 ... are frozen; `rounds` for never."""
        if self.even:
            first = math.ceil(self.start * rounds)
            spaced = [first + (rounds - first) * step // layers for step in range(layers)]
            return spaced[0], tuple(spaced[1:])
        given = self.layer_rounds or ()
        lowest = given[0] if given else rounds
        return lowest if self.embeddings_round is None else self.embeddings_round, given


class Freezing(Federated):
    """Layers frozen from below by a schedule; frozen ones are neither trained nor sent."""

    decoders: ClassVar[bool] = True

    kind: Literal["freezing"] = "freezing"
    further_pretrain: Schedule = Schedule()
    """Options of further pre-training."""
    finetune: Schedule = Schedule()
    """Options of fine-tuning."""

    def schedule_problems(self, phases: Phases, layers: int, decoder_layers: int = 0) -> Iterator[Problem]:
        """No more layers than there are, and no round after the last."""
        yield from misfits({"further_pretrain": self.further_pretrain, "finetune": self.finetune}, phases, layers)

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A stage for each run of rounds with the same frozen parts; optimizers go on for what is still trained."""
        layers = architecture.layers
        embeddings, given = getattr(self, phase).freezes(rounds, layers)
        starts = sorted({0, *(round_ for round_ in (embeddings, *given) if round_ < rounds)})
        built: list[Stage] = []
        for start, stop in pairwise([*starts, rounds]):
            frozen = sum(round_ <= start for round_ in given)
            plan, label = full(layers), "full model"
            if embeddings <= start:
                kept = tuple(range(frozen, layers))
                plan = Plan(Layers(tuple(range(layers))), kept, train_embeddings=False, train_head=True)
                label = f"{named(kept)}, head" if kept else "head"
            built.append(Stage(stop - start, (plan,), label, continues=start > 0))
        return built


def _listed(rounds: Sequence[int]) -> str:
    return ", ".join(map(str, rounds))
