"""What one client does in one round, said without touching a tensor.

A local model is a stack of copies of global layers. `Layers` names them: fixed slots at the bottom, slots
drawn at random in the middle, fixed slots at the top. A slot is a global layer index, or a tuple of
indices whose element-wise average fills it. Of an encoder-decoder the encoder's layers come first, then the decoder's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fedsim.model.distillation import Distillation

EMBEDDINGS, HEAD = "embeddings", "head"
PROJECTION, TEACHER = "projection", "teacher"
"""Groups that learning from a teacher takes: what projects the student's states, and the teacher itself."""

EXIT = "head."
"""Before a depth: the head on the lowest so many layers of a model that has several heads."""
ADAPTER, FROZEN = "lora.", "lora_a."
"""Before a layer's index: low-rank factors beside its matrices, and those of them that are never trained."""
CONTROL = "control/"
"""Before a group's name: SCAFFOLD's control variate of that group."""

Slot = int | tuple[int, ...]
CutType = Literal["float32", "bfloat16", "int8"]
"""How a number crosses the cut of a split model; `int8` has a float32 scale for every token."""
PartName = str | int
"""A part of a local model: "embeddings", "head", or a local position, 0 being next to the embeddings."""


def layer(index: int) -> str:
    """Name of the group of a global layer."""
    return f"layer.{index}"


def exit_head(depth: int) -> str:
    """Name of the group of the head on the lowest `depth` layers."""
    return f"{EXIT}{depth}"


def is_head(part: "PartName") -> bool:
    """The part is a head, on top or further down."""
    return part == HEAD or (isinstance(part, str) and part.startswith(EXIT))


def layer_index(name: str) -> int | None:
    """Which layer a group is; None: another part of the model."""
    kind, _, index = name.partition(".")
    return int(index) if kind == "layer" else None


@dataclass(frozen=True)
class Draw:
    """`count` global layers from [start, stop), drawn uniformly with replacement and sorted."""

    count: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.start < self.stop:
            raise ValueError(f"cannot draw {self.count} layers from [{self.start}, {self.stop})")

    def layers(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The layers that uniform numbers in (0, 1) stand for, each row in ascending order; both are [n, count]."""
        return np.sort(self.start + (numbers * (self.stop - self.start)).astype(np.int64), axis=1)


@dataclass(frozen=True)
class Layers:
    """The local layers from the embeddings upwards: `below`, then the draw, then `above`."""

    below: tuple[Slot, ...] = ()
    draw: Draw | None = None
    above: tuple[Slot, ...] = ()

    @property
    def draws(self) -> int:
        """How many of them are drawn."""
        return self.draw.count if self.draw else 0

    @property
    def depth(self) -> int:
        """Number of local layers."""
        return len(self.below) + self.draws + len(self.above)

    def slots(self, drawn: Sequence[int] = ()) -> tuple[Slot, ...]:
        """The local layers, with those that were drawn for a client."""
        if len(drawn) != self.draws:
            raise ValueError(f"this local model has {self.draws} drawn layers, not {len(drawn)}")
        return (*self.below, *drawn, *self.above)


@dataclass(frozen=True)
class Width:
    """Local layers narrower than the global ones: a share of every layer's attention heads and feed-forward units."""

    rate: float
    """Rounded down to whole heads and units."""
    roll_units: int = 0
    """Units by which the share moves on in every round, together with one head; 0: it is always the first ones."""
    scaled: bool = False
    """What heads and units give is multiplied by 1 / rate in training."""

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"a width of {self.rate} is not in (0, 1]")


@dataclass(frozen=True)
class Adapters:
    """Low-rank factors beside frozen matrices: W + (alpha / rank) B A (LoRA, Hu et al. 2022, section 4.1)."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    """Matrices that have them: `query`, `key`, `value`, `attention_output`, `feed_forward_in`, `feed_forward_out`."""
    dropout: float = 0.0
    """Of what A sees in training."""
    train_a: bool = True
    """Or B alone is trained and sent, and A stays as it was drawn."""

    @property
    def scaling(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class Split:
    """The layers are trained by a server: states and gradients cross at both of their ends, text and labels do not."""

    cut: CutType
    server_flops_per_s: float
    """Of the machine that works for a client."""
    body: Literal["replicas", "relay", "lockstep"] = "replicas"
    """Every client has layers of its own there; or one client after the other goes on with the same model; or all of
    them train the same layers, step by step."""
    relay_order: Literal["clients", "random"] = "clients"
    """By number, or drawn anew every round."""
    relay_optimizer: bool = False
    """In a relay the state of the optimizer goes along."""

    @property
    def shared(self) -> bool:
        """All clients of a round train one model: there is nothing to average and nothing to leave out."""
        return self.body != "replicas"


@dataclass(frozen=True)
class Plan:
    """What a client builds, trains, uploads and keeps up to date. Everything trained is uploaded, or private.

    In a split plan the layers are neither uploaded nor downloaded, and what is said of them is done by the server.
    """

    layers: Layers
    train_layers: tuple[int, ...]
    """Local positions (0 is next to the embeddings), ascending."""
    train_embeddings: bool
    train_head: bool
    full_pool: bool = True
    """Keep the whole global model up to date, or download just the groups that the local model is built from."""
    private: tuple[PartName, ...] = ()
    """Parts that live on the client: downloaded once, kept on its device between rounds, never sent."""
    distillation: "Distillation | None" = None
    """Learn from a teacher, which is downloaded as well."""
    width: Width = Width(1.0)
    """Of the local layers, as a share of the global ones'."""
    resumed: tuple[PartName, ...] = ()
    """Parts that are sent, and yet start from the client's own: what it kept while they were private."""
    split: Split | None = None
    top: str = HEAD
    """Group of the head on top: a less deep local model may have a head of its own."""
    exits: tuple[int, ...] = ()
    """Further heads, each on the lowest so many local layers, ascending."""
    mutual: float = 0.0
    """Weight of what several heads learn from each other."""
    adapters: Adapters | None = None
    """Beside every layer, in its place, and trained."""

    def __post_init__(self) -> None:
        if list(self.train_layers) != sorted({p for p in self.train_layers if 0 <= p < self.layers.depth}):
            raise ValueError(f"train_layers {self.train_layers} must be ascending positions below {self.layers.depth}")
        if not (self.train_layers or self.train_embeddings or self.train_head):
            raise ValueError("a plan must train something")
        for name, parts in (("private", self.private), ("resumed", self.resumed)):
            if not set(parts) <= {EMBEDDINGS, HEAD, *range(self.layers.depth)}:
                raise ValueError(f"{name} {parts} names parts that the local model does not have")
        if list(self.exits) != sorted({depth for depth in self.exits if 0 < depth < self.layers.depth}):
            raise ValueError(f"exits {self.exits} must be ascending depths below {self.layers.depth}")
        if self.adapters is not None and (not self.in_place or self.train_layers or self.train_embeddings):
            raise ValueError("adapters stand beside frozen layers, each in its place")
        if self.width.rate < 1.0 and (self.private or not self.in_place):
            raise ValueError("narrower local layers are those of the global model, each in its place, and none private")

    @property
    def in_place(self) -> bool:
        """Every local layer is the global layer of the same index."""
        return self.layers == Layers(tuple(range(self.layers.depth)))

    @property
    def trained(self) -> tuple[PartName, ...]:
        """The parts that are trained, bottom first."""
        ends = ([EMBEDDINGS] if self.train_embeddings else [], self.heads if self.train_head else [])
        taught = (name for name in self.taught if name != TEACHER)
        return (*ends[0], *self.train_layers, *self._beside(ADAPTER), *ends[1], *taught)

    def _beside(self, kind: str) -> tuple[str, ...]:
        """Groups of one kind beside the layers, bottom first."""
        return tuple(f"{kind}{place}" for place in range(self.layers.depth)) if self.adapters else ()

    @property
    def heads(self) -> tuple[str, ...]:
        """Groups of the heads, bottom first."""
        return (*(exit_head(depth) for depth in self.exits), self.top)

    @property
    def taught(self) -> tuple[str, ...]:
        """Groups that learning from a teacher takes."""
        if self.distillation is None:
            return ()
        return (PROJECTION, TEACHER) if self.distillation.projection else (TEACHER,)

    @property
    def uploaded(self) -> tuple[PartName, ...]:
        """The parts that are trained and sent, bottom first."""
        return tuple(part for part in self.trained if part not in self.private)

    @property
    def trainable(self) -> frozenset[str]:
        """Groups that a client may upload, whatever layers it draws."""
        found = {part for part in self.uploaded if isinstance(part, str)}
        low, high = len(self.layers.below), self.layers.depth - len(self.layers.above)
        for place in (part for part in self.uploaded if isinstance(part, int)):
            if low <= place < high and self.layers.draw is not None:
                found |= {layer(i) for i in range(self.layers.draw.start, self.layers.draw.stop)}
            else:
                slot = self.layers.below[place] if place < low else self.layers.above[place - high]
                found |= {layer(slot)} if isinstance(slot, int) else set()
        return frozenset(found)

    def sent(self, slots: tuple[Slot, ...]) -> tuple[str, ...]:
        """Groups that a client uploads, bottom first; a layer trained in two slots is named twice."""
        return tuple(group(part, slots) for part in self.uploaded)

    def keeps(self, name: str) -> bool:
        """A client with a full pool keeps this group up to date; a teacher only where it learns from one."""
        return name not in (PROJECTION, TEACHER) or name in self.taught

    def downloaded(self, slots: tuple[Slot, ...]) -> frozenset[str]:
        """Groups that a client must hold; `needed` are those that the local model is built from, wherever it is."""
        return frozenset((EMBEDDINGS, HEAD)) if self.split else self.needed(slots)

    def needed(self, slots: tuple[Slot, ...]) -> frozenset[str]:
        """Groups that the local model is built from."""
        return frozenset(
            (
                EMBEDDINGS,
                *self.heads,
                *self.taught,
                *self._beside(ADAPTER),
                *(self._beside(FROZEN) if self.adapters and not self.adapters.train_a else ()),
                *(layer(i) for slot in slots for i in ((slot,) if isinstance(slot, int) else slot)),
            )
        )


def group(part: PartName, slots: tuple[Slot, ...]) -> str:
    """The global group behind a part of a local model.

    Raises:
        ValueError: the part is an average of several layers.
    """
    if isinstance(part, str):
        return part
    slot = slots[part]
    if not isinstance(slot, int):
        raise ValueError(f"local layer {part} is an average of {slot} and cannot be sent")
    return layer(slot)


def full(layers: int) -> Plan:
    """The whole model: every layer in place, everything trained."""
    return Plan(Layers(tuple(range(layers))), tuple(range(layers)), train_embeddings=True, train_head=True)
