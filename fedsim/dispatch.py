"""Training a cohort: blocks of clients go to the engine, sums come back and become means."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedsim import stacking
from fedsim.account import Account
from fedsim.carry import Carry, scaled
from fedsim.data.work import IntArray
from fedsim.downlink import Downlink
from fedsim.engine.base import Engine
from fedsim.engine.tasks import IMPORTANCE, BlockSum, ClientReport, ClientWork, TrainBlock
from fedsim.errors import ClientError, FedsimError
from fedsim.faults import Faults
from fedsim.methods.base import Federated
from fedsim.model.adapters import refactored
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import FloatArray
from fedsim.model.width import Window
from fedsim.observe.observer import Observer
from fedsim.phases import Prepared
from fedsim.plan import ADAPTER, CONTROL, Plan, Slot
from fedsim.policies import Policy
from fedsim.rounds import CENTRAL, Cohort, Trained, Turn
from fedsim.server.merge import Holders, Merge
from fedsim.server.optimizer import ServerState
from fedsim.server.parameters import GlobalModel, shares
from fedsim.world import World


class Dispatch:
    """Has the updates of one method's cohorts computed."""

    def __init__(
        self,
        prepared: Prepared,
        world: World,
        engine: Engine | None,
        account: Account,
        folder: Path,
        observer: Observer,
    ) -> None:
        self.prepared, self.world, self.engine = prepared, world, engine
        self.account, self.observer = account, observer
        self.state_folder = folder.absolute() / "clients" / prepared.name
        """Absolute, as a host may work in another folder."""
        self.busy_s = 0.0
        method = prepared.method
        self.downlink = Downlink(prepared.name, engine, method.wire().download, world.scenario.seed)
        self.weighting = method.weighting if isinstance(method, Federated) else "samples"
        self.faults = Faults(world.scenario.faults, world.scenario.seed)
        self.keep_optimizer = not isinstance(method, Federated) or method.optimizer_state == "keep"

    def stateful(self, turn: Turn, cohort: Cohort, useful: IntArray) -> IntArray:
        """Those who leave something on a disk for their next round: members, and a server with an optimizer.

        Args:
            turn: the round.
            cohort: everybody who was picked.
            useful: places of those whose updates count.
        """
        split = turn.stage.plans[0].split
        always = self.keep_optimizer or turn.phase.recipe.control
        keep = [alike for plan, _, alike in cohort.alike(turn, useful) if always or plan.private]
        own: IntArray = cohort.clients[np.concatenate([useful[:0], *keep])]
        if split is None or not split.shared:
            return own
        server = np.full(int(self.keep_optimizer and len(useful) > 0), CENTRAL)
        return server if split.body == "relay" else np.append(own, server)

    def train(
        self,
        turn: Turn,
        cohort: Cohort,
        arrived: IntArray,
        models: Mapping[int, GlobalModel],
        server: ServerState,
        kept: np.typing.NDArray[np.int32],
        policy: Policy,
    ) -> Trained:
        """Train the members whose updates arrive; in price mode only their shares are worked out.

        Args:
            turn: the round.
            cohort: everybody who was picked.
            arrived: places within the cohort.
            models: what the clients have started from, by round.
            server: what the server keeps; clients are sent its control variates.
            kept: round in which each client last left something on its disk, -1 for none.
            policy: says what updates count that are not of this round's model.

        Raises:
            ClientError: more clients failed than the scenario allows.
            FedsimError: no update can be used.
        """
        overall, weights = np.zeros(len(cohort.clients)), self._weights(cohort)[arrived]
        overall[arrived] = weights / sum(weights.tolist())
        factors = policy.weights(turn.round - cohort.started)
        scale = None if (factors[arrived] == 1.0).all() else factors
        if self.engine is None or self.world.files is None or not len(arrived):
            reports = self.faults.expected(cohort.clients, cohort.fault, arrived)
            self._check_failures(reports, len(arrived), turn)
            return Trained({}, reports, overall, scale)
        model, sent = models[turn.round], dict[int, tuple[str, ...]]()
        for i in arrived:
            measured = turn.stage.measured and turn.at(int(cohort.started[i])).stage.measured
            sent[int(cohort.clients[i])] = (*cohort.sent(turn, i), *((IMPORTANCE,) if measured else ()))
        own = shares(sent, dict(zip(sent, weights.tolist(), strict=True)))
        factor = dict(zip(sent, factors[arrived].tolist(), strict=True)) if scale is not None else {}
        tasks = self._blocks(turn, cohort, arrived, models, server, kept, own, factor)
        merge, reports = Merge(model.groups, turn.phase.wire.delta), {}
        tables = Merge()
        work, done = sum(task.cost for task in tasks), 0.0
        name = f"{self.prepared.name}/{turn.phase.name} stage {turn.stage_index}/train"
        for result in self.engine.run(tasks, name):
            assert isinstance(result, BlockSum)
            task = tasks[result.index]
            carry = Carry(self.downlink, turn, models, own, factor, sent, mixed=policy.mixed)
            merge.add(result.index, carry.block(task, result), task.window)
            found = result.importance if turn.stage.measured else None
            tables.add(result.index, {} if found is None else {IMPORTANCE: found})
            reports.update({report.client: report for report in result.clients})
            self.busy_s += result.seconds
            done += tasks[result.index].cost
            self.observer.trained(done / max(work, 1.0))
        self._check_failures(reports, len(arrived), turn)
        self._check_lengths(cohort, reports)
        lost: dict[str, float] = {}
        split = turn.stage.plans[0].split
        for client, report in sorted(reports.items()):
            # who trains one body together has no mean of it: the host gives what came out
            if report.status != "completed" and (split is None or not split.shared):
                for group in own[client]:
                    lost[group] = lost.get(group, 0.0) + own[client][group] * sent[client].count(group)
        importance = tables.means(lost).get(IMPORTANCE)
        means = merge.means(lost, _holders(tasks, reports, own))
        if turn.phase.recipe.products:
            means = self._refactored(turn, means)
        return Trained(means, reports, overall, scale, importance)

    def _refactored(self, turn: Turn, means: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Means of products of factors, as factors again."""
        adapters = turn.phase.adapters
        assert adapters is not None
        return {
            name: refactored(self.prepared.architecture, adapters, int(name.removeprefix(ADAPTER)), values)
            if name.startswith(ADAPTER)
            else values
            for name, values in means.items()
        }

    def _weights(self, cohort: Cohort) -> np.typing.NDArray[np.float64]:
        """Weights in the mean, [cohort]; partial work counts for as much of its samples as it has got through."""
        if self.weighting == "uniform":
            return np.ones(len(cohort.clients))
        own = cohort.sizes.astype(np.float64)
        done, planned = cohort.work.samples, cohort.planned.samples
        return np.divide(own * done, planned, out=own, where=done != planned)

    def _blocks(
        self,
        turn: Turn,
        cohort: Cohort,
        arrived: IntArray,
        models: Mapping[int, GlobalModel],
        server: ServerState,
        kept: np.typing.NDArray[np.int32],
        own: Mapping[int, Mapping[str, float]],
        scale: Mapping[int, float],
    ) -> list[TrainBlock]:
        """Runs of members with the same plan and model; their sizes do not depend on the number of hosts."""
        assert self.world.files is not None
        phase, prices = turn.phase, cohort.prices
        flops = prices.flops_forward + prices.flops_backward
        if prices.remote is not None:
            flops = flops + prices.remote.server_flops_forward + prices.remote.server_flops_backward
        tasks: list[TrainBlock] = []
        for begun, number in np.unique(np.stack([cohort.started, cohort.plan])[:, arrived], axis=1).T.tolist():
            before, model = turn.at(begun), models[begun]
            plan, present = before.stage.plans[number], model.architecture(self.prepared.architecture)
            table = (IMPORTANCE,) if before.stage.measured else ()
            members_of = arrived[(cohort.plan[arrived] == number) & (cohort.started[arrived] == begun)]
            shape = LocalShape.of(present, before.goal.head, plan)
            stacked = self._stacked(before, cohort, shape, members_of)
            for members in self._split(turn, cohort, flops, arrived, members_of, stacked):
                clients = tuple(
                    ClientWork(
                        client=int(cohort.clients[i]),
                        shards=cohort.pooled or (int(cohort.clients[i]),),
                        slots=cohort.slots[i],
                        shares={
                            **dict.fromkeys((*plan.sent(cohort.slots[i]), *table), 0.0),  # what does not count any more
                            **scaled(own[client := int(cohort.clients[i])], scale.get(client, 1.0)),
                            **self._control_shares(turn, plan, cohort.slots[i]),
                        },
                        state_round=(left := int(kept[cohort.clients[i]])),
                        copied=phase.copied(before.stage_index, left) if left >= phase.first_round else {},
                        batches=int(cohort.work.batches[i]),
                        sabotage=self.faults.sabotage(int(cohort.fault[i])),
                    )
                    for i in members
                )
                used = sorted(frozenset().union(*(plan.needed(work.slots) for work in clients)))
                tasks.append(
                    TrainBlock(
                        index=len(tasks),
                        cost=float(flops[members].sum()),
                        shape=shape,
                        prefix=self.downlink.received,
                        groups=self.downlink.versions(model, self.downlink.received, used, server),
                        world=self.world.files,
                        objective=phase.trained,
                        method=self.prepared.name,
                        phase=phase.name,
                        stage=before.stage_index,
                        state_first=before.state_first,
                        round=turn.round,
                        phase_round=before.phase_round,
                        clients=clients,
                        local=phase.config.local,
                        step=phase.config.step(before.phase_round),
                        learning_rate=phase.learning_rate,
                        recipe=phase.recipe,
                        wire=phase.wire,
                        plan=number,
                        private=plan.private,
                        window=Window.of(present, plan.width, before.phase_round),
                        measured=before.stage.measured,
                        resumed=plan.resumed,
                        split=plan.split,
                        keep_optimizer=self.keep_optimizer,
                        state_folder=self.state_folder,
                        stacked=stacked,
                        server_round=int(kept[CENTRAL]),
                    )
                )
        return tasks

    def _stacked(self, turn: Turn, cohort: Cohort, shape: LocalShape, members: IntArray) -> bool:
        """Whether hosts are to train these side by side."""
        engine = self.world.scenario.engine
        if engine.stacked == "never" or not stacking.possible(
            shape, turn.phase.recipe, engine, measured=turn.stage.measured, keep_optimizer=self.keep_optimizer
        ):
            return False
        return engine.stacked == "always" or stacking.pays(shape, cohort.work.largest_batch[members])

    def _split(
        self, turn: Turn, cohort: Cohort, flops: IntArray, arrived: IntArray, members: IntArray, stacked: bool
    ) -> Sequence[IntArray]:
        """Some of those who have arrived, as blocks."""
        shared, size = turn.stage.plans[0].split, self.world.scenario.engine.block_clients
        if shared is not None and shared.shared:
            return [members]
        if size is not None:
            return [members[start : start + size] for start in range(0, len(members), size)]
        blocks = stacking.count(float(flops[arrived].sum()), len(arrived))
        own = round(blocks * len(members) / len(arrived))
        own = stacking.fewer(own, len(members)) if stacked else own
        return stacking.split(members, own, cohort.work.batches if stacked else None)

    def _check_lengths(self, cohort: Cohort, reports: Mapping[int, ClientReport]) -> None:
        """The account is of what really crosses the wire: every payload is as long as its price says."""
        for client, price in zip(cohort.clients.tolist(), cohort.prices.upload_bytes.tolist(), strict=True):
            report = reports.get(client)
            if report is None or report.status != "completed" or client == CENTRAL:
                continue
            # of a split model, a batch without anything to predict is passed over, and no message crosses for it
            if report.repeated_bytes not in (0, report.upload_bytes - report.cut_upload_bytes):
                raise FedsimError(f"client {client} sent {report.repeated_bytes} bytes again, of {report.upload_bytes}")
            if report.upload_bytes != price and (cohort.prices.remote is None or report.upload_bytes > price):
                raise FedsimError(f"client {client} sent {report.upload_bytes} bytes, its price says {price}")

    def _control_shares(self, turn: Turn, plan: Plan, slots: tuple[Slot, ...]) -> dict[str, float]:
        """The share of a client's control variates in the server's, which are the mean over all clients there are."""
        if not turn.phase.recipe.control:
            return {}
        return {CONTROL + name: 1.0 / self.world.scenario.fleet.clients for name in plan.sent(slots)}

    def _check_failures(self, reports: Mapping[int, ClientReport], due: int, turn: Turn) -> None:
        """Tell of every client that failed; stop when of so many updates there are more than the scenario allows."""
        name, engine = self.prepared.name, self.world.scenario.engine
        bad = [report for _, report in sorted(reports.items()) if report.status != "completed"]
        for report in bad:
            error = ClientError(name, turn.stage_index, turn.round, report.client, report.cause)
            self.account.event(report.status, turn.round, str(error), None)
            self.observer.note(str(error))
        for status, most in (("failed", engine.max_failed_fraction), ("rejected", engine.max_rejected_fraction)):
            own = [report for report in bad if report.status == status]
            if len(own) > most * due:
                share = f"{len(own)} of {due} updates {status}; engine.max_{status}_fraction allows {most:g} of them"
                raise ClientError(name, turn.stage_index, turn.round, own[0].client, own[0].cause, share)


def _holders(
    tasks: Sequence[TrainBlock], reports: Mapping[int, ClientReport], own: Mapping[int, Mapping[str, float]]
) -> Holders:
    """Shares of those whose update counts, for each layer and each part of it that somebody holds."""
    holders: dict[str, dict[Window | None, float]] = {}
    for task in tasks:
        for work in task.clients:
            if reports[work.client].status == "completed":
                for name, share in own[work.client].items():
                    parts = holders.setdefault(name, {})
                    parts[task.window] = parts.get(task.window, 0.0) + share
    return holders
