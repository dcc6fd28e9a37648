"""What every plan of every method costs, worked out before the first round."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsim.cost.memory import Polynomial, peak_polynomial
from fedsim.cost.price import PlanCost, plan_cost
from fedsim.engine.base import Engine
from fedsim.engine.tasks import Measured, MeasureTask
from fedsim.model.architecture import LocalShape
from fedsim.observe.observer import Observer
from fedsim.phases import Phase, Prepared
from fedsim.plan import Plan
from fedsim.rounds import Turn
from fedsim.scenario.phases import Optimizer


@dataclass(frozen=True)
class PlanCosts:
    """Costs by shape and by the phase, whose optimizer needs memory."""

    memory: dict[tuple[LocalShape, Optimizer], Polynomial]

    def of(self, turn: Turn, plan: Plan, shape: LocalShape) -> PlanCost:
        """Cost of one of a turn's plans, whose local model has this shape."""
        return plan_cost(shape, self.memory[shape, turn.phase.config.local.optimizer], plan.private)


def measure(prepared: Sequence[Prepared], engine: Engine | None, observer: Observer) -> PlanCosts:
    """Measure the memory of every plan's shape; on the hosts where there are any, so that the driver needs no torch."""
    wanted = list(
        dict.fromkeys(
            (shape, phase.config.local.optimizer)
            for item in prepared
            for phase in item.phases
            for shape in _shapes(item, phase)
        )
    )
    memory: dict[tuple[LocalShape, Optimizer], Polynomial] = {}
    with observer.task("measuring the memory that training needs", len(wanted)) as advance:
        if engine is None:
            for shape, optimizer in wanted:
                memory[shape, optimizer] = peak_polynomial(shape, optimizer)
                advance(1)
        else:
            tasks = [
                MeasureTask(i, float(shape.depth), shape, "", {}, optimizer)
                for i, (shape, optimizer) in enumerate(wanted)
            ]
            for result in engine.run(tasks, "measure memory"):
                assert isinstance(result, Measured)
                memory[wanted[result.index]] = result.memory
                advance(1)
    return PlanCosts(memory)


def _shapes(item: Prepared, phase: Phase) -> list[LocalShape]:
    return [
        LocalShape.of(item.architecture, phase.goal(stage).head, plan) for stage in phase.stages for plan in stage.plans
    ]
