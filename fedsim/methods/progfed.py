"""ProgFed: Wang, Stich, He and Fritz, ICML 2022, arXiv 2110.05323, for Transformers.

The model grows in stages: blocks of layers from the embeddings upwards under a temporary head; after each growth all
layers so far are trained (this is not layer-wise freezing). Everybody is in the same stage. How an encoder-decoder
grows is our adaptation of what the paper does with U-Nets (`fedsim.methods.growth`).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from fedsim.methods.base import Federated, Fill, PhaseName, Stage
from fedsim.methods.growth import Order, grown, sources
from fedsim.methods.schedules import apportion, listed, misfits, named
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import HEAD, Layers, Plan, full, layer
from fedsim.scenario.base import Config, Count, Flag, NonNegative, Problem, Whole, dotted
from fedsim.scenario.phases import FederatedPhase, Phases
from fedsim.training.recipe import Recipe

if TYPE_CHECKING:
    from fedsim.scenario.schema import Scenario


def stage_lengths(rounds: int, stages: int) -> list[int]:
    """T_s = T / (2S) for s < S and T_S = T (S + 1) / (2S) (section 3), by largest remainder where it is no integer."""
    return apportion(rounds, [1] * (stages - 1) + [stages + 1])


class Growth(Config):
    """How the model grows in a phase."""

    stages: Count | None = None
    """S, stages with blocks of equal size; null: 4, or one a layer where there are fewer layers (of the decoder)."""
    boundaries: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Instead of `stages`: layers of the model, or of its decoder, in each stage, ascending to all of them."""
    stage_rounds: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    """Rounds of each stage; null: T / (2S), and T (S + 1) / (2S) for the last."""
    new_blocks: Literal["pretrained", "random", "stack", "identity"] = "pretrained"
    """What a new block starts from: the global model's own layers as they were before the phase, fresh random numbers,
    copies of the layers below, or layers whose residual branches add nothing."""
    warmup_rounds: Whole = 0
    """First rounds of a stage, from the second on, in which only the new block and the head are trained."""

    def problems(self) -> Iterator[Problem]:
        """Stages are said once, and lists fit each other."""
        if self.stages is not None and self.boundaries is not None:
            yield Problem(("boundaries",), "give either stages or boundaries, not both")
        if self.boundaries is not None and not all(a < b for a, b in pairwise(self.boundaries)):
            yield Problem(("boundaries",), f"must be ascending, given {', '.join(map(str, self.boundaries))}")

    def depths(self, layers: int) -> tuple[int, ...]:
        """Layers in each stage, of `layers`; where S does not divide them, the later blocks are the larger ones."""
        if self.boundaries is not None:
            return self.boundaries
        stages = self.stages or min(4, layers)
        return tuple(layers * stage // stages for stage in range(1, stages + 1))

    def lengths(self, rounds: int, layers: int) -> list[int]:
        """Rounds of each stage."""
        return list(self.stage_rounds or stage_lengths(rounds, len(self.depths(layers))))

    def misfits(self, phase: FederatedPhase, layers: int, of: str) -> Iterator[Problem]:
        """What does not fit this phase, and so many layers to grow; `of` says what has them."""
        rounds, name = phase.config.rounds, dotted(phase.key)
        if (self.stages or 1) > layers:
            yield Problem(("stages",), f"is {self.stages}, {of} has {layers} layers")
            return
        depths = self.depths(layers)
        if depths[-1] != layers:
            yield Problem(("boundaries",), f"must end with all {layers} layers of {of}, given {depths[-1]}")
            return
        stages = len(depths)
        if self.stage_rounds is not None:
            unfit = list(listed(self.stage_rounds, stages, rounds, name))
        else:
            key = "stages" if self.boundaries is None else "boundaries"
            unfit = (
                [Problem((key,), f"asks for {stages} stages, {name} has {rounds} rounds")] if rounds < stages else []
            )
        yield from unfit
        if not unfit and stages > 1 and self.warmup_rounds >= (shortest := min(self.lengths(rounds, layers)[1:])):
            text = f"is {self.warmup_rounds}; a stage that grows gets only {shortest} of the {rounds} rounds of {name}"
            yield Problem(("warmup_rounds",), text)


class PretrainingGrowth(Growth):
    """Growth in further pre-training."""

    head: Literal["tied_lm", "task"] | None = None
    """`tied_lm`: at each growth a fresh transform before the tied matrix; `task`: the MLM head stays as it is; null:
    `tied_lm`, and with a decoder `task`: there is no transform before its matrix."""


class FinetuningGrowth(Growth):
    """Growth in fine-tuning."""

    head: Literal["pool_linear", "task"] | None = None
    """`pool_linear`: a new linear layer on the mean of all tokens (tags: on each token) until the model is complete;
    `task`: the task's own head from the start, kept at growth; null: `pool_linear`, and `task` in symmetric growth."""


class ProgFed(Federated):
    """ProgFed (Wang et al. 2022): the model grows from the bottom, or from both ends, a block of layers at a time."""

    decoders: ClassVar[bool] = True

    kind: Literal["progfed"] = "progfed"
    weighting: Literal["samples", "uniform"] = "uniform"
    """A client's weight in the average: its number of samples, or one."""
    further_pretrain: PretrainingGrowth = PretrainingGrowth()
    """Options of further pre-training."""
    finetune: FinetuningGrowth = FinetuningGrowth()
    """Options of fine-tuning."""
    growth: Order = "bottom_up"
    """An encoder grows `bottom_up`. An encoder-decoder, in our adaptation of what the paper does with U-Nets: from both
    ends inwards (`symmetric`), or the decoder alone from its input upwards, the encoder whole from the start
    (`asymmetric`)."""
    mu: NonNegative = 0.0
    """FedProx's proximal term (mu / 2) * |w - w_global|^2 over what is trained; 0: none."""
    reset_server_optimizer: Flag = True
    """The server's optimizer starts afresh in every stage; false: as `server.on_new_stage` says."""

    def recipe(self) -> Recipe:
        """The proximal term."""
        return Recipe(proximal=self.mu)

    def problems(self) -> Iterator[Problem]:
        """The server's optimizer is asked for one thing, and the output's end keeps its head where it stays."""
        yield from super().problems()
        if self.growth != "bottom_up" and self.further_pretrain.head == "tied_lm":
            yield Problem(("further_pretrain", "head"), "is tied_lm: with a decoder there is no transform to renew")
        if self.growth == "symmetric" and self.finetune.head == "pool_linear":
            fault = "is pool_linear: in symmetric growth the output's end, and its head, are there from the start"
            yield Problem(("finetune", "head"), fault)
        if self.server.on_new_stage == "reset" and not self.reset_server_optimizer:
            yield Problem(("reset_server_optimizer",), "is false, but server.on_new_stage is reset")

    def world_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        """An encoder has one end to grow at, an encoder-decoder two."""
        yield from super().world_problems(scenario)
        decodes = (self.model or scenario.model).decodes
        if decodes and self.growth == "bottom_up":
            fault = "is bottom_up, for encoders; this model has a decoder: set it to symmetric or asymmetric"
            yield Problem(("growth",), fault)
        elif self.growth != "bottom_up" and not decodes:
            fault = f"is {self.growth}, for models with a decoder (model.family: bart); an encoder grows bottom_up"
            yield Problem(("growth",), fault)

    def schedule_problems(self, phases: Phases, layers: int, decoder_layers: int = 0) -> Iterator[Problem]:
        """No more stages than layers or rounds, and lists that add up."""
        if (self.growth == "bottom_up") == bool(decoder_layers):  # told already, by `world_problems`
            return
        of = "the decoder" if decoder_layers else "the global model"
        growths: dict[PhaseName, Growth] = {"further_pretrain": self.further_pretrain, "finetune": self.finetune}
        yield from misfits(growths, phases, decoder_layers or layers, of)

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """One stage a growth, or two with a warm-up."""
        options: PretrainingGrowth | FinetuningGrowth = getattr(self, phase)
        layers, decoder_layers, keeps = architecture.layers, architecture.decoder_layers, self._keeps_head(phase)
        depths, lengths = options.depths(decoder_layers or layers), options.lengths(rounds, decoder_layers or layers)
        built: list[Stage] = []
        before: tuple[int, ...] = ()
        for active, length in zip(grown(self.growth, depths, layers, decoder_layers), lengths, strict=True):
            first, last = not built, len(active) == layers
            new = tuple(sorted(set(active) - set(before)))
            own = None if last or keeps else _temporary(head)
            fills = () if first else _fills(options, new, before, architecture.encoder_layers)
            if not first and not keeps and (own or head) == (built[-1].head or head):
                fills = (*fills, Fill(HEAD, "random"))  # a head of another kind starts afresh by itself
            warmup = 0 if first else options.warmup_rounds
            tested = None if last else active
            reset = self.reset_server_optimizer and not first
            if warmup:
                plan, label = _plan(active, new, train_embeddings=False), f"{named(new)}, head (warm-up)"
                built.append(Stage(warmup, (plan,), label, fills, own, tested=tested, reset_server=reset))
                fills = ()
            plan = full(layers) if last else _plan(active, active, train_embeddings=True)
            label = "full model" if last else f"embeddings, {named(active)}, head"
            built.append(Stage(length - warmup, (plan,), label, fills, own, tested=tested, reset_server=reset))
            before = active
        return built

    def _keeps_head(self, phase: PhaseName) -> bool:
        """The head goes through all stages, and none is temporary."""
        head = self.further_pretrain.head if phase == "further_pretrain" else self.finetune.head
        if head is not None:
            return head == "task"
        return self.growth == "symmetric" or (self.growth == "asymmetric" and phase == "further_pretrain")


def _temporary(head: Head) -> Head:
    """Pooling and a linear layer where there is one answer a sample; other heads have no pooling to replace."""
    return Head("mean", head.classes) if head.per_sample else head


def _fills(growth: Growth, new: Sequence[int], before: Sequence[int], encoder_layers: int) -> tuple[Fill, ...]:
    if growth.new_blocks == "pretrained":
        return ()
    if growth.new_blocks != "stack":
        return tuple(Fill(layer(index), growth.new_blocks) for index in new)
    return tuple(Fill(layer(to), layer(of)) for to, of in sources(new, before, encoder_layers).items())


def _plan(active: tuple[int, ...], trained: Sequence[int], *, train_embeddings: bool) -> Plan:
    places = tuple(place for place, index in enumerate(active) if index in trained)
    return Plan(Layers(active), places, train_embeddings, train_head=True, full_pool=False)
