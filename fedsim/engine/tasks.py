"""The messages between the driver and a host: plain numbers, arrays and paths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedsim.cost.memory import Polynomial
from fedsim.data.objective import Objective
from fedsim.data.work import IntArray
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import FloatArray
from fedsim.model.width import Window
from fedsim.plan import PartName, Slot, Split
from fedsim.scenario.phases import CurriculumStep, Local, Optimizer, Pretrain
from fedsim.training.recipe import Recipe
from fedsim.wire import Wire

Versions = Mapping[str, int]
"""Published name of a group -> version."""


IMPORTANCE = "importance"
"""Name, among a client's shares, of the importance of attention heads, which it sends with its groups."""


NOT_FINITE, MISSHAPEN, DAMAGED = (
    "update is not finite",
    "update has a group of the wrong shape",
    "payload does not match its checksum",
)
"""Why the server refuses an update."""
SABOTAGED = "RuntimeError: local training was made to fail"
"""Cause of a failure that was asked for."""


@dataclass(frozen=True)
class Sabotage:
    """What is done to a client's update, for the server to find."""

    kind: Literal["error", "nan", "inf", "wrong_shape", "corrupted", "duplicated"]
    bits: int = 0
    """Flipped, where it is `corrupted`."""


@dataclass(frozen=True)
class WorldFiles:
    """Where a host finds the data. Everything is memory-mapped."""

    tokens: Path
    shards: Path
    seed: int
    personal: Path | None = None
    """Samples held out for every client's own test."""
    difficulty: Path | None = None
    """None: no curriculum asks how rare words are."""


@dataclass(frozen=True)
class ClientWork:
    """One client of a block."""

    client: int
    shards: tuple[int, ...]
    """Shards it trains on: its own, or a whole cohort's where data is pooled."""
    slots: tuple[Slot, ...]
    shares: Mapping[str, float]
    """Its share in the mean of each group that it sends."""
    state_round: int = -1
    """Round in which it last left something on its disk; -1: never."""
    batches: int | None = None
    """It stops after so many; None: after all of them."""
    copied: Mapping[int, int] = field(default_factory=dict)
    """Layers that were copied since that round, and the layers whose optimizer state they take."""
    sabotage: Sabotage | None = None


@dataclass(frozen=True)
class Task:
    """What every task has. `index` is its place among the tasks of one call, and fixes the order of summation."""

    index: int
    cost: float
    """Predicted FLOPs: the longest task goes first."""
    shape: LocalShape
    prefix: str
    """Groups are published as prefix + name."""
    groups: Versions


@dataclass(frozen=True)
class MeasureTask(Task):
    """Peak memory of a plan shape, measured on the meta device."""

    optimizer: Optimizer


@dataclass(frozen=True)
class DataTask(Task):
    """A task on the world's samples."""

    world: WorldFiles
    objective: Objective


@dataclass(frozen=True)
class TrainBlock(DataTask):
    """Clients trained one after the other and summed."""

    method: str
    phase: str
    stage: int
    state_first: int
    """First round whose optimizer states still count: they belong to the parameters of their stage."""
    round: int
    """Over the whole method; for messages and state files."""
    phase_round: int
    """Within the phase; names the random streams."""
    clients: tuple[ClientWork, ...]
    local: Local
    step: CurriculumStep | None
    """Which samples count; None: all."""
    learning_rate: float
    recipe: Recipe
    wire: Wire
    """How updates are sent."""
    plan: int
    """Index of the clients' plan within the stage."""
    private: tuple[PartName, ...]
    """Parts that stay on the client's disk."""
    window: Window | None
    """What the local layers hold of the global ones; None: everything."""
    measured: bool
    """Find out how much the loss depends on each attention head, before training."""
    resumed: tuple[PartName, ...]
    """Parts that are taken from there once more, and sent."""
    split: Split | None
    keep_optimizer: bool
    state_folder: Path
    stacked: bool = False
    """Clients are trained side by side, as far as they go well together."""
    server_round: int = -1
    """Round that left the server's own optimizer state, where clients share a body; -1: none."""


@dataclass(frozen=True)
class EvaluateChunk(DataTask):
    """Held-out samples."""

    slots: tuple[Slot, ...]
    samples: IntArray
    batch_samples: int


@dataclass(frozen=True)
class EvaluateClients(DataTask):
    """Clients, each with its private groups on its own held-out samples."""

    slots: tuple[Slot, ...]
    clients: tuple[tuple[int, int], ...]
    """Client, and the round in which it last left something on its disk, -1 for never."""
    batch_samples: int
    state_folder: Path


@dataclass(frozen=True)
class CentralTask(DataTask):
    """Training in one place from start to end; a student's teacher is among the groups."""

    purpose: str
    """Names the random streams."""
    samples: IntArray
    config: Pretrain


Status = Literal["completed", "rejected", "failed"]


@dataclass(frozen=True)
class ClientReport:
    """How a client's local work went."""

    client: int
    status: Status
    loss: float | None
    cause: str = ""
    upload_bytes: int = 0
    """Length of what it sent."""
    cut_upload_bytes: int = 0
    """Length of the messages that crossed the cut of a split model."""
    cut_download_bytes: int = 0
    repeated_bytes: int = 0
    """Length of what came a second time, and was put aside."""


@dataclass(frozen=True)
class Result:
    """What a host sends back."""

    index: int
    seconds: float
    """Real time it took; for the events table alone."""
    host: str


@dataclass(frozen=True)
class BlockSum(Result):
    """Sum over the accepted clients of share * what arrived, for each group: of what is in the block's window."""

    sums: Mapping[str, FloatArray]
    clients: tuple[ClientReport, ...]
    importance: FloatArray | None = None
    """Sum over these clients of share * importance of the attention heads, where it was measured."""


@dataclass(frozen=True)
class Measured(Result):
    """Peak memory as a function of the largest batch."""

    memory: Polynomial


@dataclass(frozen=True)
class Counts(Result):
    """Sums from which metrics are made; see `fedsim.training.evaluate`."""

    values: Mapping[str, float]
    confusion: IntArray | None = None
    """[true, predicted]; sequence classification only."""
    heads: Mapping[str, tuple[Mapping[str, float], IntArray | None]] = field(default_factory=dict)
    """The same for each of several heads and for all of them together."""


@dataclass(frozen=True)
class ClientCounts(Result):
    """The same sums for each client of a task, in its order."""

    values: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Pretrained(Result):
    """The trained groups."""

    groups: Mapping[str, FloatArray]
    loss: float
