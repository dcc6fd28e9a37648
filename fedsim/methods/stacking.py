"""Progressive stacking: Gong et al., *Efficient Training of BERT by Progressively Stacking*, ICML 2019.

Further pre-training starts with a few layers; then the stack is copied on top of itself, until all layers are there.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from fedsim.methods.base import Federated, Fill, PhaseName, Stage
from fedsim.methods.schedules import apportion, listed, named
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import Layers, Plan, full, layer
from fedsim.scenario.base import Count, Flag, Problem
from fedsim.scenario.phases import Phases

_SHARES = {1: (1,), 2: (12, 28), 3: (5, 7, 28)}
"""Of the published script's 400,000 steps 50,000 are with 3 layers and 70,000 with 6; two stages join the first two."""


def default_depths(layers: int) -> tuple[int, ...]:
    """A quarter, a half and all of the layers, as far as they can be halved."""
    return tuple(layers // part for part in (4, 2, 1) if layers % part == 0)


class Stacking(Federated):
    """Progressive stacking (Gong et al. 2019): the stack is doubled by copying."""

    kind: Literal["stacking"] = "stacking"
    depths: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Layers of the model in each stage, each a multiple of the one before; null: a quarter, a half and all of them."""
    stage_rounds: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Rounds of each stage; null: 12.5 %, 17.5 % and 70 % of them, or 30 % and 70 % for two stages."""
    client_optimizer: Literal["reset", "keep"] = "reset"
    """At growth, with `optimizer_state: keep`: start anew, or go on, a copied layer with the state of its source."""
    reset_server_optimizer: Flag = True
    """The server's optimizer starts afresh at growth; false: as `server.on_new_stage` says."""

    def problems(self) -> Iterator[Problem]:
        """Layers are copied whole times, and only a kept optimizer can go on."""
        yield from super().problems()
        if self.depths is not None and any(b <= a or b % a for a, b in pairwise(self.depths)):
            given = ", ".join(map(str, self.depths))
            yield Problem(("depths",), f"each must be a multiple of the one before, and larger; given {given}")
        if self.client_optimizer == "keep" and self.optimizer_state != "keep":
            yield Problem(("client_optimizer",), "keep goes with optimizer_state: keep")
        if self.server.on_new_stage == "reset" and not self.reset_server_optimizer:
            yield Problem(("reset_server_optimizer",), "is false, but server.on_new_stage is reset")

    def schedule_problems(self, phases: Phases, layers: int, decoder_layers: int = 0) -> Iterator[Problem]:
        """There is a phase to grow in, and lists add up."""
        if phases.further_pretrain is None:
            yield Problem((), "grows in phases.further_pretrain, which this scenario does not have")
            return
        depths, rounds = self.depths or default_depths(layers), phases.further_pretrain.rounds
        if depths[-1] != layers:
            yield Problem(("depths",), f"must end with all {layers} layers of the global model, given {depths[-1]}")
        elif len(depths) == 1:
            yield Problem(("depths",), f"has one stage, in which nothing grows: {layers} layers cannot be halved")
        elif self.stage_rounds is None and len(depths) not in _SHARES:
            yield Problem(("stage_rounds",), f"is required for {len(depths)} stages")
        elif self.stage_rounds is None and rounds < len(depths):
            text = f"asks for {len(depths)} stages, phases.further_pretrain has {rounds} rounds"
            yield Problem(("depths",), text)
        elif self.stage_rounds is not None:
            yield from listed(self.stage_rounds, len(depths), rounds, "phases.further_pretrain")

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A stage for each depth; fine-tuning trains the full model."""
        layers = architecture.layers
        if phase != "further_pretrain":
            return [Stage(rounds, (full(layers),), "full model")]
        depths = self.depths or default_depths(layers)
        lengths = self.stage_rounds or apportion(rounds, _SHARES[len(depths)])
        built: list[Stage] = []
        before = 0
        for depth, length in zip(depths, lengths, strict=True):
            active, last = tuple(range(depth)), depth == layers
            built.append(
                Stage(
                    length,
                    (full(layers) if last else Plan(Layers(active), active, True, True, full_pool=False),),
                    "full model" if last else f"embeddings, {named(active)}, head",
                    tuple(Fill(layer(i), layer(i % before)) for i in range(before, depth)) if before else (),
                    tested=None if last else active,
                    reset_server=self.reset_server_optimizer and before > 0,
                    continues=self.client_optimizer == "keep" and before > 0,
                )
            )
            before = depth
        return built
