"""Messages across the cut of a split model: one [B, L, hidden] tensor each, as it is or in fewer bits.

Both ends know the model and the sizes of a batch; what else a message holds travels with it and is counted.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedsim.plan import CutType

if TYPE_CHECKING:
    from torch import Tensor

LENGTH_BYTES = 4
"""The server has to know how long every sample is: an int32 each, once a step."""


def row_bytes(hidden: int, cut: CutType) -> int:
    """Bytes of one token's states in a message."""
    return {"float32": 4 * hidden, "bfloat16": 2 * hidden, "int8": hidden + 4}[cut]


@dataclass(frozen=True)
class Message:
    """What crosses in one direction at a time."""

    values: "Tensor"
    """[B, L, hidden], float32, bfloat16 or int8."""
    scales: "Tensor | None" = None
    """[B, L, 1] float32: what an int8 of 1 stands for."""
    lengths: "Tensor | None" = None
    """[B] int32: real tokens of each sample."""

    @property
    def tensors(self) -> "tuple[Tensor, ...]":
        """All that it holds."""
        return tuple(part for part in (self.values, self.scales, self.lengths) if part is not None)

    @property
    def size_bytes(self) -> int:
        """Its length on the wire."""
        return sum(part.numel() * part.element_size() for part in self.tensors)

    def serialised(self) -> bytes:
        """The numbers as they are sent, in the machine's byte order."""
        import torch

        return b"".join(part.contiguous().cpu().view(torch.uint8).numpy().tobytes() for part in self.tensors)


def pack(states: "Tensor", cut: CutType, lengths: "Tensor | None" = None) -> Message:
    """States or gradients [B, L, hidden] as a message; `int8` rounds to the nearest of 255 steps, symmetric a token."""
    import torch

    states = states.detach()
    if cut == "int8":
        scales = states.abs().amax(-1, keepdim=True).float() / 127
        steps = states / torch.where(scales > 0, scales, torch.ones_like(scales))
        return Message(steps.round().clamp(-127, 127).to(torch.int8), scales, lengths)
    return Message(states.to(torch.bfloat16 if cut == "bfloat16" else torch.float32), None, lengths)


def unpack(message: Message) -> "Tensor":
    """The states or gradients that the other end sees, [B, L, hidden] float32, outside of any graph."""
    values = message.values.detach().float()
    return values if message.scales is None else values * message.scales
