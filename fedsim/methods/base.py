"""The seam every method fits: its options, and how they become stages with plans."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from fedsim.data.work import IntArray
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.plan import Plan, Slot
from fedsim.scenario.base import Config, Positive, Problem
from fedsim.scenario.model import Model
from fedsim.scenario.participation import Late
from fedsim.scenario.phases import PhaseChanges, PhaseKind, Phases, Pretrain
from fedsim.scenario.server import Server
from fedsim.training.recipe import Recipe
from fedsim.wire import PLAIN, Codec, Wire

if TYPE_CHECKING:
    from fedsim.data.objective import Objective
    from fedsim.fleet.devices import Fleet, FloatArray
    from fedsim.scenario.schema import Scenario

PhaseName = PhaseKind
"""What a method is asked about; of several fine-tuning phases each is a `finetune`."""


@dataclass(frozen=True)
class Fill:
    """What the server does to a group when a stage begins."""

    group: str
    source: str
    """`random`: fresh numbers; `identity`: a layer whose residual branches add nothing; or the group to copy."""


@dataclass(frozen=True)
class Pruning:
    """Which attention heads the server keeps in each layer when a stage begins, by their measured importance."""

    threshold: float
    """Those whose importance is at least this, its layer's importances having the norm 1; and the most important."""
    heads: int | None = None
    """So many of each layer instead."""


@dataclass(frozen=True)
class Stage:
    """Consecutive rounds in which a method trains the same part of the model."""

    rounds: int
    plans: tuple[Plan, ...]
    """Several: each client is given one of them, see `Method.assign`."""
    label: str
    """What is trained, for people."""
    fills: tuple[Fill, ...] = ()
    head: Head | None = None
    """A head of this stage's own; None: the task's. A head that differs from the one before starts afresh."""
    continues: bool = False
    """Optimizers go on with the state that the stage before has left; a layer that is copied takes that of its source,
    which is for local models that are the global model's lowest layers."""
    tested: tuple[Slot, ...] | None = None
    """Layers of the global model as it is tested and saved in this stage; None: all of them."""
    measured: bool = False
    """Clients also find out how much the loss depends on each attention head; the server takes the mean."""
    pruning: Pruning | None = None
    """Remove attention heads for good, by what the stages before have measured."""
    reset_server: bool = False
    """The server's optimizer starts afresh with this stage; otherwise only for groups that are filled."""


@dataclass(frozen=True)
class Lesson:
    """One training on the server, on the samples that belong to no client."""

    name: str
    """Names its random streams as well."""
    objective: "Objective"
    shape: LocalShape
    """Of what is trained; a student's has its teacher beside it."""
    config: Pretrain


@dataclass(frozen=True, eq=False)
class Fit:
    """What a method may look at when it gives n clients one of p plans."""

    clients: IntArray
    """Their numbers in the fleet, [n]."""
    devices: "Fleet"
    """Theirs."""
    memory_bytes: IntArray
    """Peak memory of training, [p, n]."""
    seconds: "FloatArray"
    """Duration of the whole trip, [p, n]."""
    deadline_s: float | None
    """Longest time that a trip may take."""
    fleet: "Fleet"
    """All devices there are."""
    seed: int


class LearningRates(Config):
    """A method's own learning rates, where the phase's does not suit it."""

    further_pretrain: Positive | None = None
    """Replaces the phase's learning rate."""
    finetune: Positive | None = None
    """Replaces the phase's learning rate."""


class Method(Config):
    """Options that every method has, and what it does. Pure: the same arguments give the same answers."""

    pooled: ClassVar[bool] = False
    """The cohort's data is trained in one place; nothing is sent."""
    decoders: ClassVar[bool] = False
    """It trains encoder-decoders as well as encoders."""

    model: Model | None = None
    """Train this model instead of the scenario's (a light model next to the full one)."""
    learning_rates: LearningRates = LearningRates()
    """The method's own learning rates."""
    phases: PhaseChanges = PhaseChanges()
    """Rounds and participation of the method's own, to compare one policy with another."""

    def schedule(self, phases: Phases) -> Phases:
        """The scenario's phases as this method has them."""
        return phases.with_changes(self.phases)

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """The stages of a phase; their rounds add up to `rounds`."""
        raise TypeError(f"{type(self).__name__} does not say what its stages are")

    def assign(self, stage: Stage, fit: Fit) -> IntArray:
        """Which of the stage's plans each client of a cohort is given, [n]."""
        return np.zeros(len(fit.devices), np.int64)

    def recipe(self) -> Recipe:
        """What the method adds to local training."""
        return Recipe()

    def when_late(self, asked: Late) -> Late:
        """What a client does that is too slow for the deadline, where the phase asks for this."""
        return asked

    def wire(self) -> Wire:
        """How its groups travel."""
        return Wire()

    def world_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        """Options that do not fit the rest of the scenario."""
        yield from ()

    def depth_problems(self, layers: int) -> Iterator[Problem]:
        """Options that do not fit a global model of this many layers."""
        yield from ()

    def models(self, scenario: Model) -> tuple[Model, ...]:
        """The models that it works with, where the scenario's is this one."""
        return (self.model or scenario,)

    def unpriced(self) -> str | None:
        """Why its price cannot be known without training; None: it can."""
        return None

    def synchronous(self) -> str | None:
        """Why all updates that are averaged must have started from the same model; None: they need not."""
        return None

    def inseparable(self) -> str | None:
        """Why what a failing client has done cannot be taken out of the model again; None: it can."""
        return None

    def width_problems(self, heads: int, units: int) -> Iterator[Problem]:
        """Options that do not fit layers with so many attention heads and feed-forward units."""
        yield from ()

    def size_problems(self, architecture: Architecture) -> Iterator[Problem]:
        """Options that do not fit a global model of these sizes."""
        yield from ()

    def phase_problems(self, phases: Phases) -> Iterator[Problem]:
        """Options that do not fit how the phases train."""
        yield from ()

    def schedule_problems(self, phases: Phases, layers: int, decoder_layers: int = 0) -> Iterator[Problem]:
        """Options that do not fit these phases with a global model of so many layers; the last ones are a decoder's."""
        yield from ()


class Federated(Method):
    """Options of methods that average client updates."""

    weighting: Literal["samples", "uniform"] = "samples"
    """A client's weight in the average: its number of samples, or one."""
    optimizer_state: Literal["reset", "keep"] = "reset"
    """`keep`: a client's optimizer state waits on its device for its next round."""
    server: Server = Server()
    """How the mean of the updates becomes the new model; the keys of a server optimizer."""
    upload: Codec = PLAIN
    """How a client's update is sent; see docs/compression.md."""
    download: Codec = PLAIN
    """How the global model is sent."""
    what: Literal["weights", "delta"] = "weights"
    """Sent up: the trained weights, or how they differ from those that were downloaded."""

    def wire(self) -> Wire:
        """As the options say."""
        return Wire(self.upload, self.download, self.what == "delta")

    def problems(self) -> Iterator[Problem]:
        """A mask is for changes: weights would mostly become zero."""
        if self.upload.share < 1.0 and self.what == "weights":
            yield Problem(("what",), f"is weights, of which upload.share {self.upload.share:g} leaves few: use delta")
        if self.download.share < 1.0:
            yield Problem(("download", "share"), "goes with upload alone: a model with a part of its weights is none")


def merge_equal(stages: Sequence[Stage]) -> list[Stage]:
    """Join neighbouring stages with the same plans."""
    joined: list[Stage] = []
    for stage in stages:
        if joined and joined[-1].plans == stage.plans:
            joined[-1] = Stage(joined[-1].rounds + stage.rounds, stage.plans, stage.label)
        else:
            joined.append(stage)
    return joined
