"""Clients that share the body of a split model: what is loaded for them, what they keep, what comes out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedsim import rng
from fedsim.cost.split import on_client
from fedsim.engine.disk import Disk
from fedsim.engine.tasks import ClientReport, ClientWork, TrainBlock
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import EMBEDDINGS, HEAD, Split, layer
from fedsim.store.client_state import ClientStore
from fedsim.training.split import NotFinite
from fedsim.training.together import Member, Settings, lockstep, relay
from fedsim.training.update import OptimizerState

SERVER = -1
"""Under this number lies what the server keeps: the number of the machine that has a method to itself."""

Outcome = tuple[dict[str, Tensor], tuple[ClientReport, ...]]
"""The groups that come out, and how every client did."""


@dataclass(frozen=True)
class Together:
    """One task in which a whole cohort trains one body."""

    task: TrainBlock
    split: Split
    model: LocalModel
    """A whole one, to be loaded."""
    groups: Mapping[str, Tensor]
    batches: Callable[[ClientWork], Iterator[Batch]]
    seed: int
    autocast: bool

    def run(self) -> Outcome:
        """Train from the global groups."""
        self.model.load(self.groups, tuple(range(len(self.model.layers))))
        members, ends = self._relay() if self.split.body == "relay" else self._lockstep()
        layers = {layer(i): self.model.parts[i].flat for i in range(len(self.model.layers))}
        return {**layers, **ends}, tuple(map(_report, members))

    def _relay(self) -> tuple[list[Member], dict[str, Tensor]]:
        members = [Member(work.client, partial(self._seeded, work)) for work in self.task.clients]
        hand_on = self.split.relay_optimizer
        self._keep(relay(self.model, members, self._settings, self._kept(), hand_on=hand_on))
        return members, {name: self.model.parts[name].flat for name in (EMBEDDINGS, HEAD)}

    def _lockstep(self) -> tuple[list[Member], dict[str, Tensor]]:
        task = self.task
        disks = [Disk.open(ClientStore(task.state_folder), task, work) for work in task.clients]
        models = [LocalModel(on_client(task.shape, self.split), self.model.device) for _ in disks]
        for model, disk in zip(models, disks, strict=True):
            model.load({**self.groups, **disk.private}, ())
        members = [Member(work.client, partial(self.batches, work)) for work in task.clients]
        own = [disk.optimizer for disk in disks]
        states, state = lockstep(models, self.model, members, self._settings, own, self._kept(), self._draw)
        self._keep(state)
        accepted = [i for i, member in enumerate(members) if member.error is None]
        if task.keep_optimizer or task.private:
            for i in accepted:
                disks[i].write(models[i], members[i].update(states[i]))
        ends: dict[str, Tensor] = {}
        for name in (EMBEDDINGS, HEAD):
            if name not in task.private and accepted:
                shares = [task.clients[i].shares[name] for i in accepted]
                ends[name] = torch.zeros_like(self.model.parts[name].flat)
                for i, share in zip(accepted, shares, strict=True):
                    ends[name].add_(models[i].parts[name].flat, alpha=share / sum(shares))
                    members[i].delivered_bytes += models[i].parts[name].flat.nbytes
        return members, ends

    @property
    def _settings(self) -> Settings:
        local = self.task.local
        return Settings(local.optimizer, self.task.learning_rate, local.clip_norm, self.split.cut, self.autocast)

    def _seeded(self, work: ClientWork) -> Iterator[Batch]:
        self._draw(work.client)
        yield from self.batches(work)

    def _draw(self, client: int, *step: int) -> None:
        torch.manual_seed(rng.integer(self.seed, "dropout", self.task.phase, self.task.phase_round, client, *step))

    def _kept(self) -> OptimizerState:
        """State of the server's optimizer; empty where it starts anew."""
        if not self.task.keep_optimizer or self.task.server_round < self.task.state_first:
            return {}
        stored = ClientStore(self.task.state_folder).read(SERVER, self.task.server_round) or {}
        return {name: torch.from_numpy(np.array(array)) for name, array in stored.items()}

    def _keep(self, state: OptimizerState) -> None:
        if self.task.keep_optimizer:
            arrays = {name: value.cpu().numpy() for name, value in state.items()}
            ClientStore(self.task.state_folder).write(SERVER, self.task.round, arrays)


def _report(member: Member) -> ClientReport:
    cut_up, cut_down = member.traffic.upload_bytes, member.traffic.download_bytes
    sent = (member.delivered_bytes + cut_up, cut_up, cut_down)
    if member.error is None:
        return ClientReport(member.client, "completed", member.update({}).loss, "", *sent)
    if isinstance(member.error, NotFinite):
        return ClientReport(member.client, "rejected", member.update({}).loss, str(member.error), *sent)
    return ClientReport(member.client, "failed", None, f"{type(member.error).__name__}: {member.error}", *sent)
