"""Testing what each client itself would use, on samples of its own, spread over the hosts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from pathlib import Path

import numpy as np

from fedsim.data.objective import Objective
from fedsim.data.personal import majority, pick_clients
from fedsim.data.work import IntArray
from fedsim.engine.base import Engine
from fedsim.engine.tasks import ClientCounts, EvaluateClients
from fedsim.errors import FedsimError, UserError
from fedsim.model.architecture import Architecture, LocalShape
from fedsim.phases import Goal
from fedsim.scenario.phases import Evaluate
from fedsim.training.metrics import metrics
from fedsim.world import World

CHUNK_CLIENTS = 16
"""Clients of one task: fixed, so that hosts do not matter, and few, so that their parts fit into memory."""


@dataclass(frozen=True, eq=False)
class Disks:
    """The clients' disks."""

    folder: Path
    kept: np.typing.NDArray[np.int32] | None
    """Round in which each client last left something there, -1 for never; None: nothing private is there."""


class PersonalEvaluator:
    """Tests the clients of any method: the groups that they receive, with their private ones in place."""

    def __init__(self, world: World, config: Evaluate, engine: Engine) -> None:
        self.world, self.config, self.engine = world, config, engine
        self.busy_s = 0.0
        self._baselines: dict[Objective, dict[str, float]] = {}

    @cached_property
    def clients(self) -> IntArray:
        """Those that are tested, ascending.

        Raises:
            UserError: no client has a sample to spare.
        """
        assert self.config.personal is not None
        assert self.world.personal is not None
        clients = pick_clients(self.world.personal, self.config.personal.clients, self.world.scenario.seed)
        if not len(clients):
            raise UserError("every client has a single sample, none can be held out", key="phases.evaluate.personal")
        return clients

    def evaluate(
        self,
        method: str,
        goal: Goal,
        architecture: Architecture,
        prefix: str,
        versions: Mapping[str, int],
        disks: Disks,
    ) -> tuple[dict[str, float], int]:
        """Metrics by name, each a plain mean over clients, and the number of samples.

        Args:
            method: its name.
            goal: what is learned, and by which layers.
            architecture: of the global model.
            prefix: of the published groups.
            versions: published names of the groups as clients receive them.
            disks: where the clients' private groups are.

        Raises:
            FedsimError: a client's model gives no finite loss.
        """
        world, own = self.world, self.world.personal
        assert own is not None
        assert world.tokens is not None
        assert world.files is not None
        rounds = np.full(len(self.clients), -1) if disks.kept is None else disks.kept[self.clients]
        pairs = tuple(zip(self.clients.tolist(), rounds.tolist(), strict=True))
        shape = LocalShape(architecture.local(goal.slots), goal.head, len(goal.slots), adapters=goal.adapters)
        starts = range(0, len(pairs), CHUNK_CLIENTS)
        tasks = [
            EvaluateClients(
                index=i,
                cost=float(sum(len(own[client]) for client, _ in pairs[start : start + CHUNK_CLIENTS])),
                shape=shape,
                prefix=prefix,
                groups=versions,
                world=world.files,
                objective=goal.objective,
                slots=goal.slots,
                clients=pairs[start : start + CHUNK_CLIENTS],
                batch_samples=self.config.batch_samples,
                state_folder=disks.folder,
            )
            for i, start in enumerate(starts)
        ]
        each: dict[int, tuple[Mapping[str, float], ...]] = {}
        for result in self.engine.run(tasks, f"{method}/{goal.name}/evaluate clients"):
            assert isinstance(result, ClientCounts)
            self.busy_s += result.seconds
            each[result.index] = result.values
        found: dict[str, list[float]] = {}
        for task in tasks:
            for (client, _), values in zip(task.clients, each[task.index], strict=True):
                if not np.isfinite(values["loss"]):
                    raise FedsimError(f"{method}: the loss of client {client} on its own samples is {values['loss']}")
                for name, value in metrics(goal.objective.kind, values, None).items():
                    if name == "perplexity":  # its mean would be that of the worst clients
                        continue
                    found.setdefault(f"personal_{name}", []).append(value)
        means = {name: fsum(values) / len(values) for name, values in found.items()}
        return means | self._baseline(goal.objective), int(own.sizes[self.clients].sum())

    def _baseline(self, objective: Objective) -> dict[str, float]:
        if objective.kind != "sequence":
            return {}
        if objective not in self._baselines:
            tokens, train, own = self.world.tokens, self.world.shards, self.world.personal
            assert tokens is not None
            assert train is not None
            assert own is not None
            labels = tokens.labels[objective.label].astype(np.int64)
            share = majority(labels, train, own, self.clients)
            self._baselines[objective] = {"personal_majority_accuracy": share}
        return self._baselines[objective]
