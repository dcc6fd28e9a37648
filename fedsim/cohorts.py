"""Who takes part in a round, with which plan and how much work, and what that costs."""

from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from fedsim import rng
from fedsim.clock.jitter import latencies_s
from fedsim.clock.partial import batches_in_time
from fedsim.clock.trips import Durations, durations
from fedsim.cost.price import PlanCost, Prices, chosen, download_bytes, price
from fedsim.data.batches import as_work, prefixes
from fedsim.data.work import IntArray, Work
from fedsim.faults import NONE, Faults
from fedsim.fleet.devices import Fleet, FloatArray, of_class
from fedsim.methods.base import Fit
from fedsim.methods.centralized import Centralized
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import layer_layout
from fedsim.phases import Prepared
from fedsim.plan import Plan, layer
from fedsim.plan_costs import PlanCosts
from fedsim.rounds import CENTRAL, Cohort, Turn
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.slots import BoolArray, LocalLayers, Slots
from fedsim.workload import Workload
from fedsim.world import World


class Cohorts:
    """Picks the cohorts of one method.

    Clients, batches and drawn layers come from the seed and the round alone, so that every method of a scenario meets
    the same clients with the same work.
    """

    def __init__(self, prepared: Prepared, world: World, costs: PlanCosts) -> None:
        self.prepared, self.world, self.costs = prepared, world, costs
        self.workload = Workload(world, prepared.architecture.max_positions)
        self.faults = Faults(world.scenario.faults, world.scenario.seed)
        self._known_costs: dict[Hashable, tuple[PlanCost, IntArray]] = {}
        method = prepared.method
        # pooled data is trained by one machine, whose optimizer lives as long as it does
        self.central = (
            of_class(method.device, key=f"methods.{prepared.name}.device") if isinstance(method, Centralized) else None
        )

    def price(
        self, turn: Turn, clients: IntArray, model: GlobalModel, pools: Pools, fault: IntArray | None = None
    ) -> Cohort:
        """These clients, who start in this round, with their work and what it costs.

        Args:
            turn: The round.
            clients: Who starts.
            model: What they are sent.
            pools: What they hold.
            fault: Which fault each of them meets, [clients]; None: as the scenario's faults strike them.
        """
        cohort = self._priced(turn, clients, model, pools, fault)
        return replace(cohort, crash_s=self.faults.crash_s(cohort.fault, cohort.needed_s))

    def _priced(
        self, turn: Turn, clients: IntArray, model: GlobalModel, pools: Pools, fault: IntArray | None
    ) -> Cohort:
        split = turn.stage.plans[0].split
        if split is not None and split.body == "relay" and split.relay_order == "random":
            draw = rng.stream(self.world.scenario.seed, "relay", turn.phase.name, turn.phase_round)
            clients = draw.permutation(clients)
        sizes, rows = self.workload.measure(turn, clients)
        if self.central is not None:
            return self._pooled(turn, clients, sizes, rows, self.central, model)
        work, devices = as_work(rows), self.world.fleet.take(clients)
        options = [self._option(turn, i, clients, work, model, pools) for i in range(len(turn.stage.plans))]
        plan = np.zeros(len(clients), np.int64)
        if len(options) > 1:
            memory = np.stack([prices.memory_bytes for _, _, prices in options])
            seconds = np.stack([self._durations(turn, clients, prices, devices).total_s for _, _, prices in options])
            deadline, seed = turn.phase.config.participation.deadline_s, self.world.scenario.seed
            fit = Fit(clients, devices, memory, seconds, deadline, self.world.fleet, seed)
            plan = self.prepared.method.assign(turn.stage, fit)
        slots = Slots(tuple(option[0] for option in options), plan)
        needed = np.stack([option[1] for option in options])[plan, np.arange(len(clients))]
        prices = chosen([option[2] for option in options], plan)
        windows = np.array([turn.window(i) for i in range(len(options))], np.int32)[plan]
        if fault is None:
            fault = self.faults.strike(clients, devices, turn.phase.name, turn.phase_round, turn.round)
        devices = self.faults.slowed(fault, devices)
        timed = (self._durations(turn, clients, prices, devices), None, np.full(len(clients), turn.round))
        struck = fault, np.full(len(clients), np.inf)
        cohort = Cohort(clients, devices, sizes, work, work, plan, slots, needed, prices, windows, *timed, *struck)
        if split is not None and split.body == "lockstep":
            return replace(cohort, steps_s=self._steps_s(turn, clients, devices, model))
        deadline_s = self._deadline_s(turn, cohort)
        if deadline_s is None or self.prepared.method.when_late(turn.phase.config.participation.late) == "drop":
            return replace(cohort, deadline_s=deadline_s)
        return self._cut(turn, rows, cohort, deadline_s, model)

    def expected_s(self, turn: Turn, clients: IntArray, model: GlobalModel, pools: Pools) -> FloatArray:
        """How long the trips of these clients would take, [n]."""
        if not len(clients):
            return np.zeros(0)
        return self.price(turn, clients, model, pools, np.full(len(clients), NONE)).needed_s.total_s

    def _durations(self, turn: Turn, clients: IntArray, prices: Prices, devices: Fleet) -> Durations:
        """How long each leg takes, with the latencies of this round."""
        sigma, seed = self.world.scenario.fleet.latency_sigma, self.world.scenario.seed
        if not sigma:
            return durations(prices, devices)
        turned = (turn.phase.name, turn.phase_round)
        return durations(prices, devices, latencies_s(devices.latency_s, sigma, clients, seed, *turned))

    def _deadline_s(self, turn: Turn, cohort: Cohort) -> float | None:
        """The deadline of a cohort: as given, or a quantile of the trips of those who are able."""
        part = turn.phase.config.participation
        if part.deadline_quantile is None:
            return part.deadline_s
        total_s = cohort.needed_s.total_s[cohort.devices.memory_bytes >= cohort.prices.memory_bytes]
        # one of the trips', so that the deadline is somebody's arrival, which is still in time
        return float(np.quantile(total_s, part.deadline_quantile, method="inverted_cdf")) if len(total_s) else None

    def _steps_s(self, turn: Turn, clients: IntArray, devices: Fleet, model: GlobalModel) -> FloatArray:
        """How long each step of each client takes, [cohort, steps]."""
        rows = [prefixes(*self.workload.batches(turn, client)) for client in clients.tolist()]
        counts = np.array([len(one) for one in rows])
        single = np.concatenate([np.diff(one, axis=0, prepend=0) for one in rows])
        nothing = np.zeros(len(single), np.int64)
        prices = price(self._cost(turn, 0, model)[0], as_work(single), nothing)
        owners = devices.take(np.repeat(np.arange(len(rows)), counts))
        steps_s = np.zeros((len(rows), counts.max()))
        steps_s[np.arange(counts.max()) < counts[:, None]] = durations(prices, owners).training_s
        return steps_s

    def _cut(self, turn: Turn, rows: IntArray, cohort: Cohort, deadline: float, model: GlobalModel) -> Cohort:
        """The cohort with the work of those who are too slow for the deadline cut to what they have time for."""
        slow = np.flatnonzero(cohort.needed_s.total_s > deadline).tolist()
        rows, costs = rows.copy(), [self._cost(turn, i, model)[0] for i in range(len(turn.stage.plans))]
        for i in slow:
            parts = prefixes(*self.workload.batches(turn, int(cohort.clients[i])))
            device, down = cohort.devices.take(np.array([i])), int(cohort.prices.fetched_bytes[i])
            latencies_s = (cohort.needed_s.download_latency_s[i], cohort.needed_s.upload_latency_s[i])
            count = batches_in_time(as_work(parts), costs[cohort.plan[i]], down, device, deadline, latencies_s)
            if count:
                rows[i] = parts[count - 1]
        work = as_work(rows)
        prices = chosen([price(cost, work, cohort.prices.fetched_bytes) for cost in costs], cohort.plan)
        needed_s = self._durations(turn, cohort.clients, prices, cohort.devices)
        return replace(cohort, work=work, prices=prices, needed_s=needed_s, deadline_s=deadline)

    def _option(
        self, turn: Turn, number: int, clients: IntArray, work: Work, model: GlobalModel, pools: Pools
    ) -> tuple[LocalLayers, BoolArray, Prices]:
        """Layers, needed groups and prices of the cohort, were all of it to be given this plan."""
        plan, key = turn.stage.plans[number], (turn.phase.name, turn.phase_round)
        local = LocalLayers.draw(plan.layers, clients, self.world.scenario.seed, *key)
        needed = local.needed(plan, model.names)
        held = pools.holding(clients, turn.window(number), model.names)
        cost, group_bytes = self._cost(turn, number, model)
        down = download_bytes(held, model.current(), needed, group_bytes)
        return local, needed, price(cost, work, down)

    def _bytes(self, turn: Turn, plan: Plan, model: GlobalModel) -> IntArray:
        """Bytes of what a plan's local model holds of each group."""
        codec = turn.phase.wire.download
        if turn.phase.recipe.control:
            trained = plan.sent(plan.layers.slots())
            doubled: IntArray = model.bytes(codec) * np.array([1 + (name in trained) for name in model.names])
            return doubled
        if plan.width.rate == 1.0:
            return model.bytes(codec)
        local = model.architecture(self.prepared.architecture).narrow(plan.width.rate)
        narrow = {layer(i): layer_layout(local, i) for i in range(local.layers)}
        held = (narrow.get(name, whole) for name, whole in model.layouts.items())
        return np.array([codec.payload_bytes(layout) for layout in held], np.int64)

    def _pooled(
        self, turn: Turn, clients: IntArray, sizes: IntArray, rows: IntArray, machine: Fleet, model: GlobalModel
    ) -> Cohort:
        """One member that has everybody's data, and neither sends nor receives."""
        row = rows.sum(0)
        row[6:] = rows[np.argmax(rows[:, 6] * rows[:, 7]), 6:]
        (plan,), work, nothing = turn.stage.plans, as_work(row[None]), np.zeros(1, np.int64)
        prices = replace(price(self._cost(turn, 0, model)[0], work, nothing), upload_bytes=nothing)
        needed = np.ones((1, len(model.names)), bool)
        slots = Slots((LocalLayers(plan.layers, np.zeros((1, 0), np.int64)),), nothing)
        size, whole = np.array([sizes.sum()]), np.zeros(1, np.int32)
        # a deadline is for devices: the one machine that has everybody's data is waited for
        timed = (durations(prices, machine), None, np.array([turn.round]), np.array([NONE]), np.array([np.inf]))
        alone = Cohort(np.array([CENTRAL]), machine, size, work, work, nothing, slots, needed, prices, whole, *timed)
        return replace(alone, pooled=tuple(clients.tolist()))

    def _cost(self, turn: Turn, number: int, model: GlobalModel) -> tuple[PlanCost, IntArray]:
        """What one of the stage's plans costs, and the bytes of each group; worked out once."""
        key = (turn.phase.name, turn.stage_index, number, model.kept_heads)
        if key not in self._known_costs:
            plan, present = turn.stage.plans[number], model.architecture(self.prepared.architecture)
            cost = self.costs.of(turn, plan, LocalShape.of(present, turn.goal.head, plan))
            self._known_costs[key] = cost, self._bytes(turn, plan, model)
        return self._known_costs[key]
