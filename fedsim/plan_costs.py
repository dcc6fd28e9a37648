"""What every plan of every method costs, worked out before the first round, or when a model has lost heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedsim.cost.flops import importance_flops
from fedsim.cost.memory import Polynomial, peak_polynomial
from fedsim.cost.parameters import BYTES_PER_PARAMETER, trained_size
from fedsim.cost.price import PlanCost, plan_cost
from fedsim.cost.split import on_client, split_cost
from fedsim.engine.base import Engine
from fedsim.engine.tasks import Measured, MeasureTask
from fedsim.errors import UserError
from fedsim.fleet.devices import Fleet
from fedsim.known_memory import KnownMemory, Wanted
from fedsim.methods.assign import Sized
from fedsim.model.architecture import LocalShape
from fedsim.observe.observer import Observer
from fedsim.phases import Phase, Prepared
from fedsim.plan import Plan
from fedsim.rounds import Turn
from fedsim.world import cache_folder


@dataclass(frozen=True)
class PlanCosts:
    """Costs by shape and by the phase, whose optimizer needs memory."""

    memory: dict[Wanted, Polynomial]
    engine: Engine | None
    """Measures shapes that nobody could know of; None: measured here."""

    def of(self, turn: Turn, plan: Plan, shape: LocalShape) -> PlanCost:
        """Cost of one of a turn's plans, whose local model has this shape."""
        here, optimizer = on_client(shape, plan.split), turn.phase.config.local.optimizer
        if (here, optimizer) not in self.memory:
            self.memory.update(_measured([(here, optimizer)], self.engine, lambda count: None))
        memory = self.memory[here, optimizer]
        kept = turn.phase.recipe.kept_vectors * trained_size(here).bytes
        memory = replace(memory, constant=memory.constant + kept)
        cost = plan_cost(here, memory, plan.private, turn.phase.wire.upload)
        times = turn.phase.recipe.payloads
        cost = replace(cost, upload_bytes=cost.upload_bytes * times, upload_parameters=cost.upload_parameters * times)
        if plan.split is not None:
            split = split_cost(shape, plan.split, optimizer)
            sent = cost.upload_bytes if split.relayed_bytes is None else split.relayed_bytes
            return replace(cost, split=split, upload_bytes=sent)
        if not turn.stage.measured:
            return cost
        # finding out needs less memory than training, and is over when training begins
        table = BYTES_PER_PARAMETER * sum(shape.architecture.heads_in(place) for place in range(shape.depth))
        return replace(cost, flops=cost.flops + importance_flops(shape), upload_bytes=cost.upload_bytes + table)


def measure(prepared: Sequence[Prepared], engine: Engine | None, observer: Observer) -> PlanCosts:
    """Measure the memory of every plan's shape; on the hosts where there are any, so that the driver needs no torch.

    What was measured before is in the cache folder.
    """
    wanted = list(
        dict.fromkeys(
            (shape, phase.config.local.optimizer)
            for item in prepared
            for phase in item.phases
            for shape in _shapes(item, phase)
        )
        | dict.fromkeys((lesson.shape, lesson.config.optimizer) for item in prepared for lesson in item.lessons)
    )
    known = KnownMemory(cache_folder())
    memory = known.find(wanted)
    if missing := [one for one in wanted if one not in memory]:
        with observer.task("measuring the memory that training needs", len(missing)) as advance:
            measured = _measured(missing, engine, advance)
        known.keep(measured)
        memory |= measured
    return PlanCosts(memory, engine)


def _measured(
    wanted: Sequence[Wanted], engine: Engine | None, advance: Callable[[int], None]
) -> dict[Wanted, Polynomial]:
    memory: dict[Wanted, Polynomial] = {}
    if engine is None:
        for shape, optimizer in wanted:
            memory[shape, optimizer] = peak_polynomial(shape, optimizer)
            advance(1)
        return memory
    tasks = [
        MeasureTask(i, float(shape.depth), shape, "", {}, optimizer) for i, (shape, optimizer) in enumerate(wanted)
    ]
    for result in engine.run(tasks, "measure memory"):
        assert isinstance(result, Measured)
        memory[wanted[result.index]] = result.memory
        advance(1)
    return memory


def check_sizes(prepared: Sequence[Prepared], costs: PlanCosts, fleet: Fleet) -> None:
    """Where plans differ in size, the smallest is meant to fit somewhere.

    Raises:
        UserError: no device can hold any plan of a method, whatever its data.
    """
    largest = int(fleet.memory_bytes.max())
    for item in prepared:
        if not isinstance(item.method, Sized):
            continue
        for phase in item.phases:
            optimizer, smallest = phase.config.local.optimizer, np.ones((1, 3), np.int64)
            least = min(int(costs.memory[shape, optimizer].at(smallest)[0]) for shape in _shapes(item, phase))
            if least > largest:
                raise UserError(
                    f"no device can hold any of its plans: the smallest needs {least / 1e6:,.1f} MB, and the fleet's "
                    f"largest device has {largest / 1e6:,.1f} MB",
                    key=f"methods.{item.name}",
                )


def _shapes(item: Prepared, phase: Phase) -> list[LocalShape]:
    return [
        on_client(LocalShape.of(item.architecture, phase.goal(stage).head, plan), plan.split)
        for stage in phase.stages
        for plan in stage.plans
    ]
