"""FedBERT (Tian et al. 2022): split learning, with embeddings and head on the clients and the layers on a server.

Labels and text stay on the client. In parallel, clients train at the same time, each with its own copy of the layers or
all with the same; in sequence, each goes on with what the one before it has left.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, product
from typing import TYPE_CHECKING, Literal

from fedsim.errors import choose
from fedsim.fleet import catalog
from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import EMBEDDINGS, HEAD, CutType, Layers, PartName, Plan, Split
from fedsim.scenario.base import Count, Problem, Text
from fedsim.scenario.phases import Phases

if TYPE_CHECKING:
    from fedsim.scenario.schema import Scenario

_BODIES: dict[str, Literal["replicas", "relay", "lockstep"]] = {
    "shared_sequential": "relay",
    "shared_parallel": "lockstep",
    "replica_averaged": "replicas",
    "replica_private": "replicas",
}


class FedBERT(Federated):
    """Embeddings and head on the clients, layers on a server (Tian et al. 2022)."""

    kind: Literal["fedbert"] = "fedbert"
    server_body: Literal["shared_sequential", "shared_parallel", "replica_averaged", "replica_private"] = (
        "replica_averaged"
    )
    """Whose the server's layers are: one copy that clients train in turn, or step by step together; or a copy for
    every client, averaged after each round, or never."""
    client_part_sync_every: Count = 1
    """Embeddings and head are averaged after every so many rounds of a phase, and after its last one."""
    relay: Literal["clients", "random"] = "clients"
    """Order of the clients in turn: by number, or drawn anew every round."""
    cut: CutType = "float32"
    """How states and gradients are sent: as they are, or in half or a quarter of the bytes."""
    server_device: Text = "server_gpu"
    """Device class of the machine that works for a client; each that trains at the same time has its own."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """One stage; where embeddings and head are not averaged every round, one for every run of rounds alike."""
        period = self.client_part_sync_every
        synced = [(i + 1) % period == 0 or i + 1 == rounds for i in range(rounds)]
        stages: list[Stage] = []
        for together, run in groupby(synced):
            count = len(list(run))
            label = (
                "embeddings, head; layers on a server"
                if together
                else "embeddings, head, not averaged; layers on a server"
            )
            plan = self._plan(architecture.layers, together)
            stages.append(Stage(count, (plan,), label, continues=bool(stages)))
        return stages

    def _plan(self, layers: int, synced: bool) -> Plan:
        every, ends = tuple(range(layers)), (EMBEDDINGS, HEAD)
        private: tuple[PartName, ...] = every if self.server_body == "replica_private" else ()
        return Plan(
            Layers(every),
            every,
            train_embeddings=True,
            train_head=True,
            full_pool=False,
            private=private if synced else (*ends, *private),
            resumed=ends if synced and self.client_part_sync_every > 1 else (),
            split=Split(
                cut=self.cut,
                server_flops_per_s=catalog.devices()[self.server_device].flops_per_s,
                body=_BODIES[self.server_body],
                relay_order=self.relay,
                relay_optimizer=self.optimizer_state == "keep",
            ),
        )

    def problems(self) -> Iterator[Problem]:
        """There is such a server, and every option has something to decide."""
        yield from super().problems()
        if self.server_device not in catalog.devices():
            known = choose(self.server_device, catalog.devices())
            yield Problem(("server_device",), f"no device class is called '{self.server_device}'; {known}")
        sequential = self.server_body == "shared_sequential"
        if sequential and self.changed("client_part_sync_every"):
            yield Problem(
                ("client_part_sync_every",),
                "embeddings and head go from client to client with server_body: shared_sequential and are not averaged",
            )
        if self.server.kind != "average" and self.server_body.startswith("shared"):
            yield Problem(("server", "kind"), f"makes a step of a mean, and {self.server_body} has no mean of its body")
        for name in ("upload", "what") if self.server_body.startswith("shared") else ():
            if self.changed(name):
                yield Problem((name,), f"goes with a replica for each client, server_body is {self.server_body}")
        if self.changed("download"):
            yield Problem(("download",), "is for whole models: here `cut` says how states and gradients are sent")
        if not sequential and self.changed("relay"):
            yield Problem(("relay",), f"goes with server_body: shared_sequential, server_body is {self.server_body}")

    def synchronous(self) -> str | None:
        """The server trains with all clients of a round, or averages its replicas after it."""
        return "trains in rounds that clients and server begin together: take policy: synchronous"

    def world_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        """Nobody vanishes in the middle of training a shared body."""
        yield from super().world_problems(scenario)
        fleet = scenario.fleet
        for name in ("availability", "dropout", "server_link"):
            if self.server_body.startswith("shared") and fleet.changed(name):
                yield Problem(
                    ("server_body",),
                    f"is {self.server_body}, which no client can leave half-way or be kept waiting in: remove "
                    f"fleet.{name}, or give each client a replica",
                )

    def inseparable(self) -> str | None:
        """A shared body has been through the hands of every client."""
        shared = self.server_body.startswith("shared")
        return f"is one body for all clients (server_body: {self.server_body})" if shared else None

    def phase_problems(self, phases: Phases) -> Iterator[Problem]:
        """What a client has done to a shared body cannot be thrown away because the client is late."""
        yield from super().phase_problems(phases)
        shared = self.server_body.startswith("shared")
        names = ("over_selection", "deadline_s", "deadline_quantile", "quorum")
        for phase, name in product(("further_pretrain", "finetune"), names):
            config = getattr(phases, phase)
            if shared and config is not None and config.participation.changed(name):
                yield Problem(
                    ("server_body",),
                    f"{self.server_body} waits for everybody, because a client's steps cannot be taken out of a shared "
                    f"body again: remove phases.{phase}.participation.{name}, or give each client a replica",
                )
