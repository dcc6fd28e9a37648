"""Clients of a split model that train one body: one after the other, or all of them step by step.

What a client has done to the body stays in it. A relay gives the model back as the client before has left it when
somebody fails; in lockstep who fails is left out from then on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedsim.model.local import Batch, LocalModel
from fedsim.model.part import Part
from fedsim.plan import CutType, PartName
from fedsim.scenario.phases import Optimizer
from fedsim.training.split import ClientSide, NotFinite, ServerSide, Traffic, step
from fedsim.training.update import OptimizerState, Update, build, clip, restore, state_of


@dataclass(frozen=True)
class Settings:
    """How both sides train."""

    optimizer: Optimizer
    learning_rate: float
    clip_norm: float | None
    """Largest norm of the gradient of a side: neither knows the other's."""
    cut: CutType
    autocast: bool


class Half:
    """The trained parts of one side with their optimizer."""

    def __init__(self, parts: Mapping[PartName, Part], settings: Settings, state: OptimizerState | None = None) -> None:
        self.parts, self._clip = parts, settings.clip_norm
        self._steps = build(parts, settings.optimizer, settings.learning_rate)
        if state:
            restore(self._steps, state)

    @property
    def state(self) -> OptimizerState:
        """Of the optimizer."""
        return state_of(self._steps)

    @property
    def finite(self) -> bool:
        """All numbers of the parts are."""
        return all(bool(torch.isfinite(part.flat.sum())) for part in self.parts.values())

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for grad in self._grads():
            grad.zero_()

    def update(self) -> None:
        """One step of the optimizer."""
        if self._clip is not None:
            clip(self._grads(), self._clip)
        self._steps.step()

    def _grads(self) -> list[Tensor]:
        return [part.grad for part in self.parts.values() if part.grad is not None]


def ends_of(model: LocalModel) -> dict[PartName, Part]:
    """The client's parts."""
    return {name: part for name, part in model.parts.items() if not isinstance(name, int)}


def layers_of(model: LocalModel) -> dict[PartName, Part]:
    """The server's parts."""
    return {name: part for name, part in model.parts.items() if isinstance(name, int)}


@dataclass
class Member:
    """One client: where its batches come from, and what became of it."""

    client: int
    batches: Callable[[], Iterable[Batch]]
    """Draws dropout's seed, then the batches."""
    traffic: Traffic = field(default_factory=Traffic)
    delivered_bytes: int = 0
    """Length of what it sends when it has ended."""
    error: Exception | None = None
    loss: float = 0.0
    """Sum over targets until the end, then their mean."""
    targets: int = 0
    steps: int = 0

    def learned(self, loss: Tensor, batch: Batch) -> None:
        """Take note of a step."""
        predicted = int((batch.targets >= 0).sum())
        self.loss += float(loss) * predicted
        self.targets += predicted
        self.steps += 1

    def update(self, state: OptimizerState) -> Update:
        """What it has learned, for its disk and for the report."""
        return Update(self.loss / max(self.targets, 1), state, self.steps, traffic=self.traffic)


def relay(
    model: LocalModel, members: Sequence[Member], settings: Settings, state: OptimizerState, *, hand_on: bool
) -> OptimizerState:
    """Train the model in place, one member after the other; returns what the optimizers are left with.

    Args:
        model: loaded; every member takes it over as the one before has left it.
        members: in order; what becomes of them is written down in them.
        settings: how they train.
        state: as an earlier call has left it.
        hand_on: the optimizer's state of the client's parts goes along; otherwise each member starts a new one.
    """
    client = Half(ends_of(model), settings, _named("client/", state))
    server = Half(layers_of(model), settings, _named("server/", state))
    sides = ClientSide(model, settings.cut, settings.autocast), ServerSide(model, settings.cut, settings.autocast)
    model.module.train()
    for member in members:
        if not hand_on:
            client = Half(ends_of(model), settings)
        weights = {name: part.flat.clone() for name, part in model.parts.items()}
        states = [{name: value.clone() for name, value in half.state.items()} for half in (client, server)]
        try:
            for batch in _with_targets(member.batches()):
                model.zero_grad()
                member.learned(step(*sides, batch, member.traffic), batch)
                client.update()
                server.update()
            if not (client.finite and server.finite):
                raise NotFinite("update is not finite")
            member.delivered_bytes = sum(part.flat.nbytes for part in client.parts.values())
            member.delivered_bytes += sum(value.nbytes for value in client.state.values()) if hand_on else 0
        except Exception as error:  # the driver judges, and the next one goes on from before
            member.error = error
            for name, part in model.parts.items():
                part.flat.copy_(weights[name])
            client, server = Half(client.parts, settings, states[0]), Half(server.parts, settings, states[1])
    handed = {f"client/{name}": value for name, value in client.state.items()} if hand_on else {}
    return handed | {f"server/{name}": value for name, value in server.state.items()}


def lockstep(
    clients: Sequence[LocalModel],
    body: LocalModel,
    members: Sequence[Member],
    settings: Settings,
    states: Sequence[OptimizerState],
    state: OptimizerState,
    seed: Callable[[int, int], None],
) -> tuple[list[OptimizerState], OptimizerState]:
    """Train clients and body in place: a step adds up everybody's gradient of the body, then the body moves once.

    Args:
        clients: the members' own embeddings and heads, loaded.
        body: whose layers are trained.
        members: in order; what becomes of them is written down in them.
        settings: how they train.
        states: optimizer states of the clients.
        state: the body's.
        seed: sets dropout's seed for a client and a step.

    Returns:
        Optimizer states of the clients, and of the body.
    """
    halves = [Half(ends_of(model), settings, own) for model, own in zip(clients, states, strict=True)]
    server = Half(layers_of(body), settings, state)
    sides = [ClientSide(model, settings.cut, settings.autocast) for model in clients]
    serving = ServerSide(body, settings.cut, settings.autocast)
    for model in (*clients, body):
        model.module.train()
    going = {place: iter(member.batches()) for place, member in enumerate(members)}
    count = 0
    while going:
        server.zero_grad()
        moved = False
        for place in list(going):
            try:
                batch = next(going[place], None)
                if batch is None:
                    del going[place]
                elif bool((batch.targets >= 0).any()):
                    seed(members[place].client, count)
                    halves[place].zero_grad()
                    members[place].learned(step(sides[place], serving, batch, members[place].traffic), batch)
                    halves[place].update()
                    moved = True
            except Exception as error:  # the driver judges, and the others go on
                members[place].error = error
                del going[place]
        if moved:
            server.update()
        count += 1
    for member, half in zip(members, halves, strict=True):
        if member.error is None and not (half.finite and server.finite):
            member.error = NotFinite("update is not finite")
    return [half.state for half in halves], server.state


def _with_targets(batches: Iterable[Batch]) -> Iterator[Batch]:
    """A batch in which nothing is predicted has no mean loss, and is passed over."""
    return (batch for batch in batches if bool((batch.targets >= 0).any()))


def _named(prefix: str, state: OptimizerState) -> OptimizerState:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
