"""One method in the world, round by round."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedsim import rng
from fedsim.account import Account
from fedsim.clock import synchronous
from fedsim.clock.trips import Outcome, Trips
from fedsim.cost.price import PlanCost, Prices, download_bytes, price
from fedsim.data.batches import as_work, compose, measure
from fedsim.data.objective import Lengths
from fedsim.data.work import IntArray
from fedsim.engine.base import Engine
from fedsim.engine.tasks import BlockSum, ClientReport, ClientWork, TrainBlock
from fedsim.errors import ClientError, FedsimError
from fedsim.evaluation import Evaluator
from fedsim.fleet.devices import of_class
from fedsim.interrupt import uninterrupted
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import EMBEDDINGS, HEAD, layer, layouts
from fedsim.observe.observer import Observer, RoundReport, RoundStart
from fedsim.phases import Goal, Phase, Prepared
from fedsim.plan import Plan, Slot
from fedsim.rounds import CENTRAL, Cohort, State, Trained, Turn
from fedsim.scenario.methods import Centralized
from fedsim.server.merge import Merge
from fedsim.server.parameters import GlobalModel, shares
from fedsim.start import initial_head
from fedsim.world import World


class MethodRun:
    """Runs a method from its state to its end. Nothing here differs between engines but where `engine` computes."""

    def __init__(
        self,
        prepared: Prepared,
        world: World,
        costs: Mapping[tuple[LocalShape, str], PlanCost],
        engine: Engine | None,
        evaluator: Evaluator | None,
        account: Account,
        state: State,
        folder: Path,
        observer: Observer,
    ) -> None:
        self.prepared = prepared
        self.name, self.method, self.phases = prepared.name, prepared.method, prepared.phases
        self.architecture, self.world, self.costs = prepared.architecture, world, costs
        self.engine, self.evaluator, self.account, self.state = engine, evaluator, account, state
        self.folder, self.observer = folder, observer
        self.seed = world.scenario.seed
        self.busy_s = 0.0
        spec = prepared.spec
        # pooled data is trained by one machine, whose optimizer lives as long as it does
        self.central = (
            of_class(spec.device, key=f"methods.{self.name}.device") if isinstance(spec, Centralized) else None
        )
        self.weighting = "samples" if isinstance(spec, Centralized) else spec.weighting
        self.keep_state = isinstance(spec, Centralized) or spec.optimizer_state == "keep"

    @property
    def rounds(self) -> int:
        """Rounds of all phases."""
        return sum(phase.config.rounds for phase in self.phases)

    def run(self) -> None:
        """All rounds that are left, each committed as a whole."""
        state = self.state
        self._publish(state.model, state.model.names)
        if not self.account.started and self.evaluator:
            self._write_quality(
                self.prepared.goal_after(0), -1, self._evaluate(self.prepared.goal_after(0), state.model)
            )
            self.account.seal(-1)
        for turn in self._turns():
            if turn.round == turn.phase.first_round:
                self._enter(turn.phase)
            self._round(turn)
        if self.account.started:
            self.account.checkpoint(state)

    def _turns(self) -> Iterator[Turn]:
        """The rounds that are left, in order."""
        for phase in self.phases:
            first = phase.first_round
            for index, stage in enumerate(phase.stages):
                for round_ in range(max(first, self.state.round), first + stage.rounds):
                    yield Turn(phase, index, stage, first, round_)
                first += stage.rounds

    def _enter(self, phase: Phase) -> None:
        """A phase that learns something else than the one before starts with a new head."""
        model = self.state.model
        if phase is self.phases[0]:
            return
        model.layouts = layouts(self.architecture, phase.head)
        model.replace(HEAD, initial_head(model.layouts[HEAD], self.seed, phase.objective) if model.groups else None)
        self._publish(model, [HEAD])

    def _round(self, turn: Turn) -> None:
        """Pick a cohort, price it, play the clock, train what arrives, average, test; then commit all of it."""
        started = time.perf_counter()
        phase, plan, state = turn.phase, turn.stage.plan, self.state
        cohort = self._cohort(turn)
        self.observer.begin(
            RoundStart(self.name, phase.name, turn.stage.label, turn.round, self.rounds, len(cohort.clients))
        )
        needed = self._needed(plan, cohort)
        prices = self._prices(phase, plan, cohort, needed)
        # a deadline is for devices: the one machine that has everybody's data is waited for
        deadline = None if self.method.pooled else phase.config.participation.deadline_s
        trips = synchronous.play(prices, cohort.devices, cohort.wanted, deadline, state.now_s)
        trained = self._train(turn, cohort, np.flatnonzero(trips.outcome == Outcome.completed.code), prices)
        trips = _judged(trips, cohort, trained.reports)
        useful = np.flatnonzero(trips.outcome == Outcome.completed.code)
        changed = sorted({name for i in useful for name in _sent(plan, cohort.slots[i])})
        model = state.model.updated(changed, trained.means)
        self._publish(model, trained.means)
        tested = self._evaluate(phase, model) if self._due(turn) else None
        with uninterrupted():
            fetched = np.flatnonzero(trips.downloaded & (cohort.clients != CENTRAL))
            state.pools.download(cohort.clients[fetched], needed[fetched], state.model.current())
            if self.keep_state:
                state.kept[cohort.clients[useful]] = turn.round
            state.model, state.now_s, state.round = model, trips.closed_s, turn.round + 1
            if turn.round == turn.stage_first:
                self.account.stage(turn, cohort, prices, self._cost(phase, plan), self.architecture, model)
            loss = self.account.trips(turn, cohort, prices, trips, trained, changed)
            if tested is not None:
                self._write_quality(phase, turn.round, tested)
            self._close(turn, time.perf_counter() - started)
        self._report(turn, len(cohort.clients), len(useful), loss, tested is not None)

    def _close(self, turn: Turn, seconds: float) -> None:
        """Seal the round's trace, and write it with a checkpoint where one is due."""
        if self.engine is not None:
            for kind, text in self.engine.events():
                self.account.event(kind, turn.round, text, None)
            self.account.event("hosts busy", turn.round, f"{self.engine.hosts} hosts", self.busy_s)
            self.busy_s = 0.0
        self.account.event("round", turn.round, turn.stage.label, seconds)
        self.account.seal(turn.round)
        every = self.world.scenario.outputs.checkpoint_every_rounds
        if self.state.round % every == 0 or self.state.round == self.rounds:
            self.account.checkpoint(self.state)

    def _report(self, turn: Turn, cohort: int, completed: int, loss: float | None, tested: bool) -> None:
        totals, state = self.account.totals, self.state
        self.observer.round(
            RoundReport(
                method=self.name,
                phase=turn.phase.name,
                stage=turn.stage.label,
                round=state.round,
                rounds=self.rounds,
                cohort=cohort,
                completed=completed,
                simulated_s=state.now_s,
                upload_bytes=totals.upload_bytes,
                download_bytes=totals.download_bytes,
                loss=loss,
                quality=dict(state.quality) if tested else {},
            )
        )

    def _cohort(self, turn: Turn) -> Cohort:
        """Picked by the seed and the round alone, so that every method of a scenario meets the same clients."""
        phase, plan, index = turn.phase, turn.stage.plan, turn.phase_round
        part = phase.config.participation
        wanted = part.clients_per_round
        if part.cohorts is not None:
            clients = np.array(part.cohorts[index], np.int64)
            wanted = len(clients)
        else:
            draw = rng.stream(self.seed, "cohort", phase.name, index)
            clients = np.sort(draw.choice(self.world.scenario.fleet.clients, part.cohort_clients, replace=False))
        examples = self.world.examples(phase.objective)
        rows = np.array([self._measure(phase, examples, int(client), index) for client in clients])
        if self.method.pooled:
            assert self.central is not None
            row = rows.sum(0)
            row[6:] = rows[np.argmax(rows[:, 6] * rows[:, 7]), 6:]
            alone = np.array([CENTRAL])
            pooled = (tuple(map(int, clients)),)
            return Cohort(alone, pooled, self.central, 1, as_work(row[None]), (plan.layers.slots(),))
        slots = tuple(
            plan.layers.slots(
                rng.stream(self.seed, "slots", phase.name, index, int(client)) if plan.layers.draw else None
            )
            for client in clients
        )
        shards = tuple((int(client),) for client in clients)
        return Cohort(clients, shards, self.world.fleet.take(clients), wanted, as_work(rows), slots)

    def _measure(self, phase: Phase, examples: Lengths, client: int, index: int) -> IntArray:
        samples = self.world.samples(client)
        lengths, longest = examples.lengths(samples), self.architecture.max_positions
        draw = rng.stream(self.seed, "batches", phase.name, index, client)
        batches = compose(lengths, phase.config.local, longest, draw)
        return measure(lengths, examples.counts(samples), batches, longest)

    def _needed(self, plan: Plan, cohort: Cohort) -> np.typing.NDArray[np.bool_]:
        """[cohort, groups]: what each client must hold in its current version."""
        names = self.state.model.names
        if plan.full_pool:
            return np.ones((len(cohort.clients), len(names)), bool)
        used = [{EMBEDDINGS, HEAD, *_layers(slots)} for slots in cohort.slots]
        return np.array([[name in own for name in names] for own in used])

    def _prices(self, phase: Phase, plan: Plan, cohort: Cohort, needed: np.typing.NDArray[np.bool_]) -> Prices:
        cost, model = self._cost(phase, plan), self.state.model
        if self.method.pooled:
            nothing = np.zeros(1, np.int64)
            return replace(price(cost, cohort.work, nothing), upload_bytes=nothing)
        down = download_bytes(self.state.pools.held[cohort.clients], model.current(), needed, model.bytes())
        return price(cost, cohort.work, down)

    def _cost(self, phase: Phase, plan: Plan) -> PlanCost:
        return self.costs[LocalShape.of(self.architecture, phase.head, plan), phase.name]

    def _train(self, turn: Turn, cohort: Cohort, arrived: IntArray, prices: Prices) -> Trained:
        """Train the clients whose updates arrive; in price mode only their shares are worked out."""
        phase, plan = turn.phase, turn.stage.plan
        sizes = self.world.sizes()
        weights = {
            int(cohort.clients[i]): float(sum(int(sizes[s]) for s in cohort.shards[i]))
            if self.weighting == "samples"
            else 1.0
            for i in arrived
        }
        sent = {int(cohort.clients[i]): _sent(plan, cohort.slots[i]) for i in arrived}
        own = shares(sent, weights)
        total = sum(weights.values())
        overall = {client: weight / total for client, weight in weights.items()}
        if self.engine is None or self.world.files is None or not len(arrived):
            return Trained({}, {}, overall)
        size = self.world.scenario.engine.block_clients or max(1, -(-len(arrived) // 32))
        tasks: list[TrainBlock] = []
        for start in range(0, len(arrived), size):
            members = arrived[start : start + size]
            clients = tuple(
                ClientWork(
                    client=int(cohort.clients[i]),
                    shards=cohort.shards[i],
                    slots=cohort.slots[i],
                    shares=own[int(cohort.clients[i])],
                    # a state belongs to the parameters of its stage
                    state_round=kept if (kept := int(self.state.kept[cohort.clients[i]])) >= turn.stage_first else -1,
                )
                for i in members
            )
            used = sorted({EMBEDDINGS, HEAD}.union(*(_layers(work.slots) for work in clients)))
            tasks.append(
                TrainBlock(
                    index=len(tasks),
                    cost=float((prices.flops_forward + prices.flops_backward)[members].sum()),
                    shape=LocalShape.of(self.architecture, phase.head, plan),
                    prefix=f"{self.name}/",
                    groups=self._versions(self.state.model, used),
                    world=self.world.files,
                    objective=phase.objective,
                    method=self.name,
                    phase=phase.name,
                    stage=turn.stage_index,
                    round=turn.round,
                    phase_round=turn.phase_round,
                    clients=clients,
                    local=phase.config.local,
                    learning_rate=phase.learning_rate,
                    keep_state=self.keep_state,
                    state_folder=self.folder / "clients" / self.name,
                )
            )
        merge, reports = Merge(), dict[int, ClientReport]()
        work = sum(task.cost for task in tasks)
        done = 0.0
        for result in self.engine.run(tasks, f"{self.name}/{phase.name} stage {turn.stage_index}/train"):
            assert isinstance(result, BlockSum)
            merge.add(result.index, result.sums)
            reports.update({report.client: report for report in result.clients})
            self.busy_s += result.seconds
            done += tasks[result.index].cost
            self.observer.trained(done / max(work, 1.0))
        self._check_failures(reports, turn)
        lost: dict[str, float] = {}
        for client, report in sorted(reports.items()):
            if report.status != "completed":
                for name in own[client]:
                    lost[name] = lost.get(name, 0.0) + own[client][name] * sent[client].count(name)
        return Trained(merge.means(lost), reports, overall)

    def _check_failures(self, reports: Mapping[int, ClientReport], turn: Turn) -> None:
        """Tell of every client that failed; stop when there are more than the scenario allows."""
        bad = [report for _, report in sorted(reports.items()) if report.status != "completed"]
        for report in bad:
            error = ClientError(self.name, turn.stage_index, turn.round, report.client, report.cause)
            self.account.event(report.status, turn.round, str(error), None)
            self.observer.note(str(error))
        failed = [report for report in bad if report.status == "failed"]
        if len(failed) > self.world.scenario.engine.max_failed_fraction * len(reports):
            raise ClientError(self.name, turn.stage_index, turn.round, failed[0].client, failed[0].cause)
        if len(bad) == len(reports):
            raise FedsimError(f"{self.name}, round {turn.round}: no client gave a usable update; {bad[0].cause}")

    def _due(self, turn: Turn) -> bool:
        every = turn.phase.config.evaluate_every_rounds
        last = turn.round == turn.phase.last_round
        return self.evaluator is not None and (last or bool(every and (turn.phase_round + 1) % every == 0))

    def _evaluate(self, goal: Goal, model: GlobalModel) -> tuple[dict[str, float], int]:
        assert self.evaluator is not None
        versions = self._versions(model, model.names)
        return self.evaluator.evaluate(self.name, goal, self.architecture, versions)

    def _write_quality(self, goal: Goal, round_: int, tested: tuple[dict[str, float], int]) -> None:
        metrics, samples = tested
        self.state.quality |= {f"{goal.name}/{metric}": value for metric, value in metrics.items()}
        self.account.evaluation(goal.name, round_, self.state.now_s, metrics, samples)

    def _publish(self, model: GlobalModel, names: Iterable[str]) -> None:
        if self.engine is not None:
            for name in names:
                self.engine.publish(f"{self.name}/{name}", model.versions[name], model.groups[name])

    def _versions(self, model: GlobalModel, names: Iterable[str]) -> dict[str, int]:
        return {f"{self.name}/{name}": model.versions[name] for name in names}


def _layers(slots: tuple[Slot, ...]) -> set[str]:
    return {layer(i) for slot in slots for i in (slot if isinstance(slot, tuple) else (slot,))}


def _sent(plan: Plan, slots: tuple[Slot, ...]) -> tuple[str, ...]:
    """Groups that a client uploads, bottom first; a layer trained in two slots is named twice."""
    trained = [slots[position] for position in plan.train_layers]
    middle = [layer(slot) for slot in trained if isinstance(slot, int)]
    return (*([EMBEDDINGS] if plan.train_embeddings else []), *middle, *([HEAD] if plan.train_head else []))


def _judged(trips: Trips, cohort: Cohort, reports: Mapping[int, ClientReport]) -> Trips:
    """Trips with the outcome of those whose training failed or gave nonsense."""
    outcome = trips.outcome.copy()
    for i, client in enumerate(cohort.clients):
        report = reports.get(int(client))
        if report is not None and report.status != "completed":
            outcome[i] = Outcome(report.status).code
    return replace(trips, outcome=outcome)
