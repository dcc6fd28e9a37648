"""A method's phases, resolved: objective, head, learning rate and stages of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from fedsim.data.objective import Objective
from fedsim.errors import UserError
from fedsim.methods.assign import Sized, check_classes
from fedsim.methods.base import Lesson, Method, Stage
from fedsim.methods.student import Pair, Student, taught_objective
from fedsim.model.adapters import all_adapter_layouts
from fedsim.model.architecture import Architecture, Head, Heads
from fedsim.model.layout import Layout, layouts, packed_layout, projection_layout
from fedsim.plan import HEAD, PROJECTION, TEACHER, Adapters, Slot, exit_head, layer, layer_index
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
    adapters: Adapters | None
    """Beside the layers."""


@dataclass(frozen=True)
class Phase(Goal):
    """One federated phase of one method."""

    config: FurtherPretrain | Finetune
    learning_rate: float
    recipe: Recipe
    wire: Wire
    stages: tuple[Stage, ...]
    lessons: tuple[Lesson, ...]
    """What the server trains before the first round."""
    first_round: int
    """Over the whole method."""

    @property
    def last_round(self) -> int:
        """Over the whole method, inclusive."""
        return self.first_round + self.config.rounds - 1

    @property
    def taught(self) -> bool:
        """Its clients learn from a teacher."""
        return any(plan.distillation for stage in self.stages for plan in stage.plans)

    @property
    def trained(self) -> Objective:
        """What clients train on: as `objective`, but for the positions that a teacher's logits are compared at."""
        plans = [plan for stage in self.stages for plan in stage.plans]
        return taught_objective(self.objective, plans[0].distillation)

    def stage_at(self, round_: int) -> Stage:
        """The stage of a round, counted over the whole method."""
        return self.stages[self._index_at(round_)]

    def _index_at(self, round_: int) -> int:
        left = round_ - self.first_round
        for index, stage in enumerate(self.stages):
            left -= stage.rounds
            if left < 0:
                return index
        raise IndexError(f"phase {self.name} has no round {round_}")

    def copied(self, index: int, round_: int) -> dict[int, int]:
        """Layers that were copied since a round (over the whole method) and up to a stage, and where they come from."""
        origins: dict[int, int] = {}
        for stage in self.stages[self._index_at(round_) + 1 : index + 1]:
            copies = [(layer_index(fill.group), layer_index(fill.source)) for fill in stage.fills]
            new = {to: origins.get(of, of) for to, of in copies if to is not None and of is not None}
            origins |= new
        return origins

    def replaced(self, start: int, stop: int) -> frozenset[str]:
        """Groups that training had not left as they were when a stage after `start` and up to `stop` began."""
        found = set[str]()
        for before, stage in pairwise(self.stages[start : stop + 1]):
            found |= {fill.group for fill in stage.fills}
            if (before.head or self.head) != (stage.head or self.head):
                found |= {HEAD, *map(exit_head, self.exits)}
            if stage.pruning is not None:
                found |= {layer(index) for index in range(len(self.slots))}
        return frozenset(found)

    def goal(self, stage: Stage) -> Goal:
        """What is learned in a stage, whose head and depth may be its own."""
        head, slots = stage.head or self.head, stage.tested or self.slots
        return Goal(self.name, self.objective, head, slots, exits_of([stage]), self.adapters)


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
    teacher: Architecture | None = None
    """Sizes of what a student learns from."""
    general: tuple[Lesson, ...] = ()
    """What the server trains before everything else."""

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """All that the server trains."""
        return (*self.general, *(lesson for phase in self.phases for lesson in phase.lessons))

    def lessons_before(self, round_: int) -> list[tuple[str, Lesson]]:
        """What the server trains just before a round, with the phase that it is for; -1: before the first one."""
        found = [("pretrain", lesson) for lesson in self.general] if round_ < 0 else []
        for phase in self.phases:
            if phase.first_round == round_ > 0 or round_ < 0 == phase.first_round:
                found += [(phase.name, lesson) for lesson in phase.lessons]
        return found

    @property
    def projection(self) -> Layout | None:
        """What a student's states are compared through, anywhere in the method."""
        plans = [plan.distillation for phase in self.phases for stage in phase.stages for plan in stage.plans]
        asked = (*plans, *(lesson.shape.distillation for lesson in self.lessons))
        if self.teacher is None or not any(one.projection for one in asked if one is not None):
            return None
        return projection_layout(self.architecture.hidden, self.teacher.hidden)

    def layouts(self, phase: Phase, stage: Stage, kept_heads: Heads | None = None) -> dict[str, Layout]:
        """The global model's layouts in a stage; a teacher is there while clients learn from it.

        Args:
            phase: one of the method's.
            stage: one of the phase's.
            kept_heads: attention heads that are left; None: as in the beginning.
        """
        head = phase.goal(stage).head
        architecture = self._left(kept_heads)
        found = layouts(architecture, head, self.exits) | all_adapter_layouts(architecture, self.adapters)
        if self.projection is not None:
            found[PROJECTION] = self.projection
        if self.teacher is not None and any(phase.taught for phase in self.phases):
            found[TEACHER] = packed_layout(self.teacher, head) if phase.taught else Layout(())
        return found

    @property
    def exits(self) -> tuple[int, ...]:
        """Depths at which any phase has a further head."""
        return tuple(sorted({depth for phase in self.phases for depth in phase.exits}))

    @property
    def adapters(self) -> Adapters | None:
        """Those of the method, which are the same in all phases."""
        return next((phase.adapters for phase in self.phases if phase.adapters), None)

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
        for phase in self.phases:
            if rounds - 1 <= phase.last_round:
                return self.layouts(phase, phase.stage_at(max(rounds - 1, phase.first_round)), kept_heads)
        return layouts(self._left(kept_heads), self.pretraining.head, self.exits)

    def _left(self, kept_heads: Heads | None) -> Architecture:
        return self.architecture if kept_heads is None else replace(self.architecture, kept_heads=kept_heads)


def prepare(world: World, name: str) -> Prepared:
    """Resolve a method of the scenario against the world.

    Raises:
        UserError: model, data and the method's options do not fit together.
    """
    method = world.scenario.methods[name]
    model, key = (world.scenario.model, "model") if method.model is None else (method.model, f"methods.{name}.model")
    plan = method.schedule(world.scenario.phases)
    teacher = world.architecture(world.scenario.model, "model") if isinstance(method, Student) else None
    if isinstance(method, Student) and teacher is not None and method.model is None:
        # the scenario's weights are the teacher's
        model, architecture = model.model_copy(update={"checkpoint": None}), method.sizes(teacher)
    else:
        architecture = world.architecture(model, key)
    if isinstance(method, Student) and teacher is not None:
        for problem in method.misfits(teacher, architecture):
            raise UserError(problem.message, key=dotted(("methods", name, *problem.key)))
    narrowest = min(architecture.heads_in(i) for i in range(architecture.layers))
    for problem in (
        *method.depth_problems(architecture.layers),
        *method.width_problems(narrowest, architecture.feed_forward),
        *method.schedule_problems(plan, architecture.layers, architecture.decoder_layers),
        *method.size_problems(architecture),
    ):
        raise UserError(problem.message, key=dotted(("methods", name, *problem.key)))
    if isinstance(method, Sized):
        check_classes(method.assignment, world.fleet, f"methods.{name}.assignment.devices")
    slots = tuple(range(architecture.layers))
    phases: list[Phase] = []
    first = 0
    for phase in plan.federated:
        config = phase.config
        objective = world.objective(config, model)
        head = world.head(objective, model, dotted(phase.key))
        rate = getattr(method.learning_rates, phase.kind) or config.local.optimizer.learning_rate
        lessons: Sequence[Lesson] = ()
        if isinstance(method, Student) and teacher is not None:
            stages = tuple(method.stages(phase.kind, config.rounds, architecture, head, teacher))
            if phase.kind == "finetune":
                lessons = method.lessons("task", Pair(architecture, teacher, head), objective)
        else:
            stages = tuple(method.stages(phase.kind, config.rounds, architecture, head))
        if sum(stage.rounds for stage in stages) != config.rounds:
            raise ValueError(f"stages of {name} do not add up to the {config.rounds} rounds of {phase.name}")
        if architecture.kept_heads is not None and not all(map(_in_place, stages)):
            raise UserError(
                "moves layers to other places, and the checkpoint's have different numbers of heads since some were "
                "pruned: take a method that leaves every layer in its place",
                key=f"methods.{name}",
            )
        wire, recipe, own = method.wire(), method.recipe(), tuple(lessons)
        exits, adapters = exits_of(stages), stages[0].plans[0].adapters
        goal = (phase.name, objective, head, slots, exits, adapters)
        phases.append(Phase(*goal, config, rate, recipe, wire, stages, own, first))
        first += config.rounds
    pretraining = Goal("pretrain", world.mlm_objective(model), world.mlm_head(model), slots, (), None)
    general: Sequence[Lesson] = ()
    if isinstance(method, Student) and teacher is not None:
        general = method.lessons("general", Pair(architecture, teacher, Head("mlm")), pretraining.objective)
    return Prepared(name, method, model, key, architecture, pretraining, tuple(phases), teacher, tuple(general))


def _in_place(stage: Stage) -> bool:
    tested = stage.tested is None or stage.tested == tuple(range(len(stage.tested)))
    copied = any(layer_index(fill.source) is not None for fill in stage.fills)
    return tested and not copied and all(plan.in_place for plan in stage.plans)
