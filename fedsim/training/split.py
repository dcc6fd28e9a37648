"""One step of split learning: embeddings and head on the client, the layers between them on the server.

The U-shaped split of FedBERT (Tian et al. 2022; split learning: Vepakomma et al. 2018, without sharing labels). Four
messages cross: the embedded tokens and the last hidden states upwards through the model, and the gradients of the same
two tensors back. Tokens, labels and the tied decoder stay on the client.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.model.local import Batch, LocalModel, attention_mask
from fedsim.plan import CutType
from fedsim.wire.cut import Message, pack, unpack


class NotFinite(ValueError):
    """The server refuses a message with a number that is not finite."""


@dataclass
class Traffic:
    """Bytes that have crossed the cut, as the client counts them."""

    upload_bytes: int = 0
    download_bytes: int = 0

    def up(self, message: Message) -> Message:
        """From the client to the server."""
        self.upload_bytes += message.size_bytes
        return message

    def down(self, message: Message) -> Message:
        """From the server to the client."""
        self.download_bytes += message.size_bytes
        return message


class ClientSide:
    """Embeddings and head of a local model, whose layers are not used: it may have none."""

    def __init__(self, model: LocalModel, cut: CutType, autocast: bool = False) -> None:
        self.model, self._cut = model, cut
        self._context = _precision(model, autocast)

    def embed(self, batch: Batch) -> Message:
        """First message: the embedded tokens, and how long the samples are."""
        samples, width = batch.ids.shape
        if batch.real is None:
            lengths = torch.full((samples,), width, dtype=torch.int32)
        else:
            lengths = batch.real.sum(1).to("cpu", torch.int32)
        with self._context:
            self._embedded: Tensor = self.model.embedded(batch)
        return pack(self._embedded, self._cut, lengths)

    def predict(self, hidden: Message, batch: Batch) -> tuple[Tensor, Message]:
        """From the last hidden states to the mean loss (a detached scalar), and their gradient as a message."""
        states = unpack(hidden).requires_grad_()
        with self._context:
            loss = self.model.answers_loss(states, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        assert states.grad is not None
        return loss.detach(), pack(states.grad, self._cut)

    def finish(self, gradient: Message) -> None:
        """Backward through the embeddings; the parts' gradients are complete then."""
        self._embedded.backward(unpack(gradient))  # type: ignore[no-untyped-call]


class ServerSide:
    """The layers of a local model. Gradients add up in them until they are cleared."""

    def __init__(self, model: LocalModel, cut: CutType, autocast: bool = False) -> None:
        self.model, self._cut = model, cut
        self._context = _precision(model, autocast)

    def forward(self, embedded: Message) -> Message:
        """From the embedded tokens to the last hidden states."""
        assert embedded.lengths is not None
        self._below = _received(embedded).requires_grad_()
        width = self._below.shape[1]
        mask = None
        if bool((embedded.lengths < width).any()):  # the attention kernel is another one without a mask
            mask = attention_mask((torch.arange(width) < embedded.lengths[:, None]).to(self._below.device))
        with self._context:
            self._above = self.model.body(self._below, mask)
        return pack(self._above, self._cut)

    def backward(self, gradient: Message) -> Message:
        """From the gradient of the last hidden states to that of the embedded tokens."""
        self._above.backward(_received(gradient))  # type: ignore[no-untyped-call]
        assert self._below.grad is not None
        return pack(self._below.grad, self._cut)


def step(client: ClientSide, server: ServerSide, batch: Batch, traffic: Traffic) -> Tensor:
    """Forward and backward of one batch over both sides; returns the mean loss, a detached scalar.

    Gradients are added to those of all parts, as `loss.backward()` on the whole model would.

    Raises:
        NotFinite: the client sends numbers that are not finite; the server's gradients are as they were.
    """
    hidden = traffic.down(server.forward(traffic.up(client.embed(batch))))
    loss, gradient = client.predict(hidden, batch)
    client.finish(traffic.down(server.backward(traffic.up(gradient))))
    return loss


def _received(message: Message) -> Tensor:
    values = unpack(message)
    if not bool(torch.isfinite(values.sum())):
        raise NotFinite("a message to the server is not finite")
    return values


def _precision(model: LocalModel, autocast: bool) -> AbstractContextManager[object]:
    return torch.autocast(model.device.type, dtype=torch.bfloat16) if autocast else nullcontext()
