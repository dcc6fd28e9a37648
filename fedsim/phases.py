"""A method's phases, resolved: objective, head, learning rate and stages of each."""

from dataclasses import dataclass

from fedsim.data.objective import Objective
from fedsim.methods.base import Method, PhaseName, Stage
from fedsim.methods.build import build
from fedsim.model.architecture import Architecture, Head
from fedsim.model.layout import Layout, layouts
from fedsim.scenario.methods import MethodSpec
from fedsim.scenario.model import Model
from fedsim.scenario.phases import Finetune, FurtherPretrain
from fedsim.world import World


@dataclass(frozen=True)
class Goal:
    """What is learned, and under which name its quality is written down."""

    name: str
    objective: Objective
    head: Head


@dataclass(frozen=True)
class Phase(Goal):
    """One federated phase of one method."""

    config: FurtherPretrain | Finetune
    learning_rate: float
    stages: tuple[Stage, ...]
    first_round: int
    """Over the whole method."""

    @property
    def last_round(self) -> int:
        """Over the whole method, inclusive."""
        return self.first_round + self.config.rounds - 1


@dataclass(frozen=True)
class Prepared:
    """One method with its model and phases, ready to start."""

    name: str
    spec: MethodSpec
    model: Model
    key: str
    """Where the scenario declares the model."""
    method: Method
    architecture: Architecture
    pretraining: Goal
    """Central pre-training: the same for every model, if the scenario has it."""
    phases: tuple[Phase, ...]

    def goal_after(self, rounds: int) -> Goal:
        """What the global model has learned last after so many rounds; before the first, what it will learn."""
        current = (phase for phase in self.phases if rounds - 1 <= phase.last_round)
        return next(current, self.pretraining)

    def layouts_after(self, rounds: int) -> dict[str, Layout]:
        """The global model's layouts after so many rounds: a phase may have brought another head."""
        return layouts(self.architecture, self.goal_after(rounds).head)


def prepare(world: World, name: str) -> Prepared:
    """Resolve a method of the scenario against the world.

    Raises:
        UserError: model and data do not fit together.
    """
    spec = world.scenario.methods[name]
    model, key = (world.scenario.model, "model") if spec.model is None else (spec.model, f"methods.{name}.model")
    method = build(spec)
    architecture = world.architecture(model, key)
    phases: list[Phase] = []
    first = 0
    names: tuple[PhaseName, ...] = ("further_pretrain", "finetune")
    for phase in names:
        config: FurtherPretrain | Finetune | None = getattr(world.scenario.phases, phase)
        if config is None:
            continue
        objective = world.objective(config, model)
        rate = getattr(spec.learning_rates, phase) or config.local.optimizer.learning_rate
        stages = tuple(method.stages(phase, config.rounds, architecture.layers))
        phases.append(Phase(phase, objective, world.head(objective, model), config, rate, stages, first))
        first += config.rounds
    pretraining = Goal("pretrain", world.mlm_objective(model), Head("mlm"))
    return Prepared(name, spec, model, key, method, architecture, pretraining, tuple(phases))
