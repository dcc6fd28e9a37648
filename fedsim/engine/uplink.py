"""From a client to the server: what arrives of an update."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fedsim import rng
from fedsim.engine.sabotage import flip
from fedsim.engine.tasks import DAMAGED, MISSHAPEN, NOT_FINITE, ClientWork, TrainBlock
from fedsim.model.layout import Layout
from fedsim.model.part import Vector, Weights
from fedsim.model.stacked import StackedModel
from fedsim.model.width import Window
from fedsim.plan import ADAPTER, PartName, Slot, group, layer_index
from fedsim.training.tensors import to_device
from fedsim.wire import checksum


class Refused(ValueError):
    """The server cannot use an update."""


@dataclass(frozen=True)
class Arrived:
    """An update as the server decodes it, and how long it was on its way there."""

    groups: list[tuple[str, Tensor]]
    """Weights, or their change, bottom first; a layer in two trained slots is there twice."""
    bytes: int


def deliver(model: Weights, task: TrainBlock, work: ClientWork, downloaded: Mapping[str, Tensor]) -> Arrived:
    """Send what a client has trained.

    Args:
        model: after training.
        task: says how updates are sent.
        work: the client.
        downloaded: groups as the client received them.

    Raises:
        Refused: the server finds that something is wrong with it.
        ValueError: the codec cannot express the update.
    """
    if not all(bool(torch.isfinite(part.flat.sum())) for part in model.trained.values()):
        raise Refused(NOT_FINITE)
    codec, fault = task.wire.upload, work.sabotage
    key = (task.phase, task.phase_round, work.client)
    draw = rng.stream(task.world.seed, "codec", *key)
    groups: list[tuple[str, Tensor]] = []
    length = 0
    for name, part in _sent(model, task.private, work.slots):
        flat = part.flat - _start(downloaded[name], name, task.window) if task.wire.delta else part.flat
        if task.split is not None and layer_index(name) is not None:
            groups.append((name, flat))  # the server has it already
            continue
        if fault is not None and fault.kind == "wrong_shape" and not length:
            flat = flat[:-1]
        if flat.numel() != part.layout.size:
            raise Refused(MISSHAPEN)
        corrupted = fault is not None and fault.kind == "corrupted" and not length
        if codec.lossless and not corrupted:
            length += codec.payload_bytes(part.layout)
        else:
            payload = codec.encode(flat.cpu().numpy(), part.layout, draw)
            sealed, length = checksum.seal(payload), length + len(payload)
            if fault is not None and corrupted:
                payload = flip(payload, fault.bits, rng.stream(task.world.seed, "flips", *key))
            if not checksum.intact(payload, sealed):
                raise Refused(DAMAGED)
            flat = to_device(codec.decode(payload, part.layout), model.device)
            if not torch.isfinite(flat.sum()):
                raise ValueError(f"{name} is not finite any more when it arrives")
        product = task.recipe.products and name.startswith(ADAPTER)
        groups.append((name, products(part.layout, flat) if product else flat))
    return Arrived(groups, length)


def deliver_together(model: StackedModel, task: TrainBlock, works: Sequence[ClientWork]) -> Arrived | None:
    """Send what clients have trained side by side; what arrives is their sum, of share * weights.

    Args:
        model: after training.
        task: says how updates are sent.
        works: the clients; nothing is to go wrong with their updates.

    Returns:
        Sums, and the length of each client's update. None: they have to be delivered one by one.
    """
    wire, slots = task.wire, works[0].slots
    as_it_is = wire.upload.lossless and not wire.delta and not task.private and not task.recipe.products
    if not as_it_is or any(work.slots != slots for work in works):
        return None
    groups, length = [], 0
    for name, part in model.trained.items():
        sent = group(name, slots)
        shares = torch.tensor([work.shares[sent] for work in works], device=model.device)
        total = torch.cat([shares @ block for block in part.blocks(part.flat)])
        if not torch.isfinite(total.sum()):
            return None
        groups.append((sent, total))
        length += wire.upload.payload_bytes(part.layout)
    return Arrived(groups, length)


def products(layout: Layout, flat: Tensor) -> Tensor:
    """What the factors beside a layer amount to, B A of each target: the server averages that, and receives factors."""
    tensors, start = [], 0
    for _, shape in layout.tensors:
        tensors.append(flat[start : start + prod(shape)].view(shape))
        start += prod(shape)
    half = len(tensors) // 2
    return torch.cat([(b @ a).flatten() for a, b in zip(tensors[:half], tensors[half:], strict=True)])


def _start(downloaded: Tensor, name: str, window: Window | None) -> Tensor:
    """What a part began with: of a layer, what is in the window."""
    place = layer_index(name)
    if window is None or place is None:
        return downloaded
    return downloaded[torch.from_numpy(window.entries(place)).to(downloaded.device)]


def _sent(model: Weights, private: tuple[PartName, ...], slots: tuple[Slot, ...]) -> Iterator[tuple[str, Vector]]:
    """Global group of everything that is trained and sent."""
    for name, part in model.trained.items():
        if name not in private:
            yield group(name, slots), part
