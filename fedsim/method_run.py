"""One method in the world, round by round."""

import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from fedsim.account import Account
from fedsim.clock.trips import Outcome, Trips
from fedsim.cohorts import Cohorts
from fedsim.data.work import IntArray
from fedsim.dispatch import Dispatch
from fedsim.engine.base import Engine
from fedsim.errors import FedsimError
from fedsim.evaluation import Evaluator
from fedsim.interrupt import uninterrupted
from fedsim.methods.base import Federated, Pruning
from fedsim.model.layout import Groups
from fedsim.observe.observer import Observer
from fedsim.personal import Disks
from fedsim.phases import Goal, Prepared
from fedsim.plan import HEAD, exit_head
from fedsim.policies import Policy, choose, staleness
from fedsim.policies.ground import Ground
from fedsim.recruiting import Recruiter, learns, unknown
from fedsim.rounds import CENTRAL, Cohort, State, Trained, Turn, turn_of
from fedsim.scenario.policy import Tiered
from fedsim.scenario.server import Server
from fedsim.server.fill import filled
from fedsim.server.optimizer import ServerState
from fedsim.server.parameters import GlobalModel
from fedsim.server.prune import prune
from fedsim.server.step import begin, step
from fedsim.server.tiers import Tiers
from fedsim.start import initial_head
from fedsim.store.checkpoint import Spacing
from fedsim.teaching import Teaching
from fedsim.telling import Teller

Quality = tuple[dict[str, float], int]
"""Metrics, and the number of samples that they were measured on."""


class MethodRun:
    """Runs a method from its state to its end. Nothing here differs between engines but where `engine` computes."""

    def __init__(
        self,
        prepared: Prepared,
        cohorts: Cohorts,
        dispatch: Dispatch,
        teaching: Teaching,
        evaluator: Evaluator | None,
        account: Account,
        state: State,
        observer: Observer,
    ) -> None:
        self.prepared, self.name = prepared, prepared.name
        self.cohorts, self.dispatch, self.evaluator = cohorts, dispatch, evaluator
        self.engine: Engine | None = dispatch.engine
        self.downlink = dispatch.downlink
        self.world = cohorts.world
        self.ground = Ground(cohorts, Recruiter(prepared, cohorts.world, state.last_picked))
        self._phase_policy: tuple[str, Policy] | None = None
        self.teaching = teaching
        self.account, self.state, self.observer = account, state, observer
        method = prepared.method
        self.server = method.server if isinstance(method, Federated) else Server()
        self._spacing = Spacing()
        self.teller = Teller(observer, self.name, self.rounds, self.engine, account)

    @property
    def rounds(self) -> int:
        """Rounds of all phases."""
        return sum(phase.config.rounds for phase in self.prepared.phases)

    def run(self) -> None:
        """All rounds that are left, each committed as a whole."""
        state = self.state
        if self.engine is not None:
            self.account.event("begun", state.round, f"{self.engine.hosts} hosts", None)
        self.downlink.restore(state.model, state.server, list(state.older.values()))
        if not self.account.started:
            lessons = list(self.teaching.costs(-1, self.cohorts.costs, 0.0))
            for lesson in lessons:
                self.account.lesson(lesson)
                state.now_s = lesson["end_s"]
            if self.evaluator:
                goal = self.prepared.goal_after(0)
                self._write_quality(goal, -1, self._evaluate(goal, state.model, state.kept))
            if lessons or self.evaluator:
                self.account.seal(-1)
        for turn in self._turns():
            self._round(turn)
        if self.account.started:
            self.account.checkpoint(state)

    def _turns(self) -> Iterator[Turn]:
        """The rounds that are left, in order."""
        for phase in self.prepared.phases:
            for round_ in range(max(phase.first_round, self.state.round), phase.last_round + 1):
                yield turn_of(phase, round_)

    def _round(self, turn: Turn) -> None:
        """Pick a cohort, price it, play the clock, train what arrives, average, test; then commit all of it."""
        self._busy()  # what was tested before the first round belongs to none
        started = time.perf_counter()
        state = self.state
        if turn.round == turn.phase.first_round and learns(turn.phase.config.participation.selection):
            state.record = unknown(self.world.scenario.fleet.clients)  # another phase has losses of another kind
        begun, server = self._begun(turn)
        lessons = list(self.teaching.costs(turn.round, self.cohorts.costs, state.now_s))
        opened_s = lessons[-1]["end_s"] if lessons else state.now_s
        policy = self._policy(turn)
        cohort, trips, flights, tier = policy.play(turn, begun, state, opened_s)
        self.teller.begin(turn, cohort)
        arrived = np.flatnonzero(trips.outcome == Outcome.completed.code)
        models = {**state.older, turn.round: begun}
        trained = self.dispatch.train(turn, cohort, arrived, models, server, state.kept, policy)
        trips = self.cohorts.faults.judged(trips, cohort, trained.reports)
        useful = np.flatnonzero(trips.outcome == Outcome.completed.code)
        changed = cohort.changed(turn, useful)
        tiers, means = self._tiered(turn, tier, begun, trained.means)
        try:
            model, server = step(self.server, begun, changed, means, server)
        except FedsimError as error:
            raise FedsimError(f"{self.name}, round {turn.round}: {error}") from error
        older = {round_: models[round_] for round_ in np.unique(flights.started).tolist()}
        self.downlink.publish(model, changed, server, older.values())
        stateful = self.dispatch.stateful(turn, cohort, useful)
        tested = self._evaluate(turn.goal, model, _left(state.kept, stateful, turn.round)) if self._due(turn) else []
        with uninterrupted():
            self._fetch(cohort, trips, models)
            state.model, state.server = model, server
            state.kept[stateful] = turn.round
            state.tiers, state.flights, state.older = tiers, flights, older
            state.last_picked = self.ground.recruiter.last_picked
            state.now_s, state.round = trips.closed_s, turn.round + 1
            state.empty_rounds = 0 if len(useful) else state.empty_rounds + 1
            if trained.importance is not None:
                state.importance = trained.importance + (0 if state.importance is None else state.importance)
            self._learn(turn, cohort, trips, trained)
            if turn.stage_first != state.told and len(cohort):
                self.account.stage(turn, cohort, self.prepared.architecture, self.cohorts.costs, model)
                state.told = turn.stage_first
            for lesson in lessons:
                self.account.lesson(lesson)
            loss = self.account.trips(turn, cohort, trips, trained, changed)
            self._write_quality(turn.goal, turn.round, tested)
            seconds, busy_s = time.perf_counter() - started, self._busy()
            self._close(turn, seconds, busy_s)
        self._check_empty(turn, trips)
        self.teller.end(turn, cohort, trips, state, loss, state.quality if tested else {}, seconds, busy_s)

    def _policy(self, turn: Turn) -> Policy:
        """When the server takes in updates, in the phase that this round belongs to."""
        if self._phase_policy is None or self._phase_policy[0] != turn.phase.name:
            self._phase_policy = turn.phase.name, choose(turn, self.ground)
        return self._phase_policy[1]

    def _begun(self, turn: Turn) -> tuple[GlobalModel, ServerState]:
        """Model and server as the round finds them: a stage may begin with other groups, a phase with another head."""
        before, goal = self.state.model, turn.goal
        if turn.round != turn.stage_first or (turn.stage.continues and not turn.stage.fills):
            return before, self.state.server
        seed, key = self.world.scenario.seed, (turn.phase.name, turn.stage_index)
        present = self.prepared.layouts(turn.phase, turn.stage, before.kept_heads)
        model = GlobalModel(present, dict(before.groups), dict(before.versions), before.kept_heads)
        if turn.stage.pruning is not None:
            model = self._pruned(turn, model, turn.stage.pruning)
        for fill in turn.stage.fills:
            values = filled(fill, model.layouts[fill.group], before.groups, seed, *key) if before.groups else None
            model.replace(fill.group, values)
        last = self.prepared.goal_after(turn.round)
        if (last.objective, last.head) != (goal.objective, goal.head):
            own = () if turn.stage_index == 0 else key
            layout = model.layouts[HEAD]
            fresh = initial_head(layout, seed, goal.objective, *own) if before.groups else None
            for name in (HEAD, *map(exit_head, self.prepared.exits)):
                model.replace(name, fresh)
        if turn.round == turn.phase.first_round > 0:
            taught = self.teaching.enter(turn.phase, model.groups) if before.groups else {}
            for name in self.teaching.replaced(turn.phase):
                model.replace(name, taught.get(name))
        replaced = [name for name in model.names if model.versions[name] != before.versions[name]]
        self.downlink.publish(model, replaced, {}, self.state.older.values())
        forget = turn.stage_index == 0 or turn.stage.reset_server
        return model, begin(self.server, self.state.server, replaced, forget=forget)

    def _tiered(self, turn: Turn, tier: int, model: GlobalModel, means: Groups) -> tuple[Tiers, Groups]:
        """What tiers of clients have sent, and what the global model becomes of it; without tiers, the mean itself."""
        policy, tiers = turn.phase.config.participation.policy, self.state.tiers
        if tier < 0 or not isinstance(policy, Tiered):
            return Tiers(), means
        if turn.round == turn.phase.first_round:
            tiers = Tiers()
        elif turn.round == turn.stage_first:
            tiers = tiers.without(turn.phase.replaced(turn.stage_index - 1, turn.stage_index))
        if not means and self.engine is not None:
            return tiers, means
        tiers = tiers.after(tier, means)
        weights = staleness.tiers(tiers.counts(policy.tiers), policy.weighting)
        return tiers, tiers.mean(means, weights, model.groups)

    def _fetch(self, cohort: Cohort, trips: Trips, models: Mapping[int, GlobalModel]) -> None:
        """What those who ended have downloaded, each from the model that it started from."""
        fetched = trips.downloaded & (cohort.clients != CENTRAL)
        for started in np.unique(cohort.started[fetched]).tolist():
            own = np.flatnonzero(fetched & (cohort.started == started))
            current = models[started].current()
            self.state.pools.download(cohort.clients[own], cohort.needed[own], current, cohort.windows[own])

    def _learn(self, turn: Turn, cohort: Cohort, trips: Trips, trained: Trained) -> None:
        """Remember what clients have reported, where a selection looks at it."""
        if not learns(turn.phase.config.participation.selection):
            return
        record = self.state.record
        assert record is not None
        for i, client in enumerate(cohort.clients.tolist()):
            report = trained.reports.get(client)
            if report is not None and report.loss is not None:
                record["loss"][client] = report.loss
                record["seconds"][client] = trips.end_s[i] - trips.start_s[i]
                record["last_round"][client] = turn.phase_round

    def _check_empty(self, turn: Turn, trips: Trips) -> None:
        """Stop where round after round nothing comes back."""
        most, empty = turn.phase.config.participation.max_empty_rounds, self.state.empty_rounds
        if empty < most:
            return
        counts = ", ".join(f"{n} {o.value}" for o in Outcome if (n := int(trips.having(o).sum())))
        raise FedsimError(
            f"{self.name}, round {turn.round}: no usable update in {empty} rounds in a row; in this one: "
            f"{counts or 'nobody was there'}. Look at the deadline, at devices' memory and at availability, or bear "
            f"more with max_empty_rounds in the participation of {turn.phase.name}"
        )

    def _pruned(self, turn: Turn, model: GlobalModel, rule: Pruning) -> GlobalModel:
        """The model without its unimportant heads.

        Raises:
            FedsimError: nobody has measured which ones these are.
        """
        importance, first = self.state.importance, self.prepared.architecture
        if importance is None and model.groups:
            raise FedsimError(f"{self.name}, round {turn.round}: no client has measured the importance of heads")
        pruned = prune(model, first, importance, rule)
        left, all_of = (sum(map(pruned.architecture(first).heads_in, range(first.layers))), first.layers * first.heads)
        text = f"{self.name}: {left} of {all_of} attention heads are left"
        self.account.event("pruned", turn.round, f"{text}: {pruned.kept_heads}", None)
        self.observer.note(text)
        return pruned

    def _busy(self) -> float:
        """Seconds that hosts have trained and tested since the last call."""
        personal = None if self.evaluator is None else self.evaluator.personal
        users = [user for user in (self.dispatch, self.evaluator, personal) if user is not None]
        total = sum(user.busy_s for user in users)
        for user in users:
            user.busy_s = 0.0
        return total

    def _close(self, turn: Turn, seconds: float, busy_s: float) -> None:
        """Seal the round's trace, and write it with a checkpoint where one is due."""
        if self.engine is not None:
            for kind, text in self.engine.events():
                self.account.event(kind, turn.round, text, None)
            self.account.event("hosts busy", turn.round, f"{self.engine.hosts} hosts", busy_s)
        self.account.event("round", turn.round, turn.stage.label, seconds)
        self.account.seal(turn.round)
        every = self.world.scenario.outputs.checkpoint_every_rounds
        last, due = self.state.round == self.rounds, self.state.round % (every or 1) == 0
        # short rounds, above all those that are only priced, are sooner done again than saved
        often = every is not None and self.engine is not None
        if last or (due and (often or self._spacing.due)):
            with self._spacing:
                self.account.checkpoint(self.state)

    def _due(self, turn: Turn) -> bool:
        every = turn.phase.config.evaluate_every_rounds
        last = turn.round == turn.phase.last_round
        return self.evaluator is not None and (last or bool(every and (turn.phase_round + 1) % every == 0))

    def _evaluate(self, goal: Goal, model: GlobalModel, kept: np.typing.NDArray[np.int32]) -> list[Quality]:
        """Quality of the global model on held-out samples, and of the clients on their own where that is asked for."""
        assert self.evaluator is not None
        link, architecture = self.downlink, model.architecture(self.prepared.architecture)
        versions = link.versions(model, link.exact, model.names)
        tested = [self.evaluator.evaluate(self.name, goal, architecture, versions)]
        if (personal := self.evaluator.personal) is not None:
            versions = link.versions(model, link.received, model.names)
            disks = Disks(self.dispatch.state_folder, kept if self.prepared.private else None)
            tested.append(personal.evaluate(self.name, goal, architecture, link.received, versions, disks))
        return tested

    def _write_quality(self, goal: Goal, round_: int, tested: Iterable[Quality]) -> None:
        for metrics, samples in tested:
            self.state.quality |= {f"{goal.name}/{metric}": value for metric, value in metrics.items()}
            self.account.evaluation(goal.name, round_, self.state.now_s, metrics, samples)


def _left(kept: np.typing.NDArray[np.int32], stateful: IntArray, round_: int) -> np.typing.NDArray[np.int32]:
    """As `State.kept` will be once the round is committed."""
    after = kept.copy()
    after[stateful] = round_
    return after
