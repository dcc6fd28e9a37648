"""A method's phases, resolved: objective, head, learning rate and stages of each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fedsim.data.objective import Objective
from fedsim.errors import UserError
from fedsim.methods.assign import Sized, check_classes
from fedsim.methods.base import Method, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head, Heads
from fedsim.model.layout import Layout, layouts
from fedsim.plan import HEAD, Slot, layer_index
from fedsim.scenario.base import dotted
from fedsim.scenario.model import Model
from fedsim.scenario.phases import Finetune, FurtherPretrain
from fedsim.training.recipe import Recipe
from fedsim.wire import Wire
from fedsim.world import World


@dataclass(frozen=True)
class Goal:
    """What is learned, by which model, and under which name its quality is written down."""

    name: str
    objective: Objective
    head: Head
    slots: tuple[Slot, ...]
    """Layers of the global model that count."""
    exits: tuple[int, ...]
    """Depths at which further heads stand, ascending."""


@dataclass(frozen=True)
class Phase(Goal):
    """One federated phase of one method."""

    config: FurtherPretrain | Finetune
    learning_rate: float
    recipe: Recipe
    wire: Wire
    stages: tuple[Stage, ...]
    first_round: int
    """Over the whole method."""

    @property
    def last_round(self) -> int:
        """Over the whole method, inclusive."""
        return self.first_round + self.config.rounds - 1

    def stage_at(self, round_: int) -> Stage:
        """The stage of a round, counted over the whole method."""
        left = round_ - self.first_round
        for stage in self.stages:
            left -= stage.rounds
            if left < 0:
                return stage
        raise IndexError(f"phase {self.name} has no round {round_}")

    def goal(self, stage: Stage) -> Goal:
        """What is learned in a stage, whose head and depth may be its own."""
        head, slots = stage.head or self.head, stage.tested or self.slots
        return Goal(self.name, self.objective, head, slots, exits_of([stage]))


def exits_of(stages: Iterable[Stage]) -> tuple[int, ...]:
    """Depths at which some plan of these stages has a head that is not the global model's own, ascending."""
    plans = [plan for stage in stages for plan in stage.plans]
    tops = {plan.layers.depth for plan in plans if plan.top != HEAD}
    return tuple(sorted(tops.union(*(plan.exits for plan in plans))))


@dataclass(frozen=True)
class Prepared:
    """One method with its model and phases, ready to start."""

    name: str
    method: Method
    model: Model
    key: str
    """Where the scenario declares the model."""
    architecture: Architecture
    pretraining: Goal
    """Central pre-training: the same for every model, if the scenario has it."""
    phases: tuple[Phase, ...]

    @property
    def exits(self) -> tuple[int, ...]:
        """Depths at which any phase has a further head."""
        return tuple(sorted({depth for phase in self.phases for depth in phase.exits}))

    @property
    def private(self) -> bool:
        """Clients keep parts of the model to themselves."""
        return any(plan.private for phase in self.phases for stage in phase.stages for plan in stage.plans)

    def goal_after(self, rounds: int) -> Goal:
        """What the global model has learned last after so many rounds; before the first, what it will learn."""
        for phase in self.phases:
            if rounds - 1 <= phase.last_round:
                return phase.goal(phase.stage_at(max(rounds - 1, phase.first_round)))
        return self.pretraining

    def layouts_after(self, rounds: int, kept_heads: Heads | None = None) -> dict[str, Layout]:
        """The global model's layouts after so many rounds: a phase may have brought another head.

        Args:
            rounds: finished.
            kept_heads: attention heads that are left; None: as in the beginning.
        """
        heads = self.architecture.kept_heads if kept_heads is None else kept_heads
        return self.layouts(replace(self.architecture, kept_heads=heads), self.goal_after(rounds).head)

    def layouts(self, architecture: Architecture, head: Head) -> dict[str, Layout]:
        """The global model's layouts where it has these sizes and heads of this kind."""
        return layouts(architecture, head, self.exits)


def prepare(world: World, name: str) -> Prepared:
    """Resolve a method of the scenario against the world.

    Raises:
        UserError: model and data do not fit together.
    """
    method = world.scenario.methods[name]
    model, key = (world.scenario.model, "model") if method.model is None else (method.model, f"methods.{name}.model")
    architecture = world.architecture(model, key)
    narrowest = min(architecture.heads_in(i) for i in range(architecture.layers))
    problems = [*method.depth_problems(architecture.layers)]
    problems += method.width_problems(narrowest, architecture.feed_forward)
    for problem in problems:
        raise UserError(problem.message, key=dotted(("methods", name, *problem.key)))
    if isinstance(method, Sized):
        check_classes(method.assignment, world.fleet, f"methods.{name}.assignment.devices")
    slots = tuple(range(architecture.layers))
    phases: list[Phase] = []
    first = 0
    names: tuple[PhaseName, ...] = ("further_pretrain", "finetune")
    for phase in names:
        config: FurtherPretrain | Finetune | None = getattr(world.scenario.phases, phase)
        if config is None:
            continue
        objective = world.objective(config, model)
        head = world.head(objective, model)
        rate = getattr(method.learning_rates, phase) or config.local.optimizer.learning_rate
        stages = tuple(method.stages(phase, config.rounds, architecture, head))
        if sum(stage.rounds for stage in stages) != config.rounds:
            raise ValueError(f"stages of {name} do not add up to the {config.rounds} rounds of {phase}")
        if architecture.kept_heads is not None and not all(map(_in_place, stages)):
            raise UserError(
                "moves layers to other places, and the checkpoint's have different numbers of heads since some were "
                "pruned: take a method that leaves every layer in its place",
                key=f"methods.{name}",
            )
        wire, recipe = method.wire(), method.recipe()
        exits = exits_of(stages)
        phases.append(Phase(phase, objective, head, slots, exits, config, rate, recipe, wire, stages, first))
        first += config.rounds
    pretraining = Goal("pretrain", world.mlm_objective(model), Head("mlm"), slots, ())
    return Prepared(name, method, model, key, architecture, pretraining, tuple(phases))


def _in_place(stage: Stage) -> bool:
    tested = stage.tested is None or stage.tested == tuple(range(len(stage.tested)))
    copied = any(layer_index(fill.source) is not None for fill in stage.fills)
    return tested and not copied and all(plan.in_place for plan in stage.plans)
