"""What every method starts from: fresh weights, a checkpoint, or central pre-training (cached)."""

from fedsim import central, rng
from fedsim.data.held_out import unigram
from fedsim.data.objective import Objective
from fedsim.engine.base import Engine
from fedsim.methods.base import Lesson
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, Layout, initialise, layouts
from fedsim.model.pretrained import find, read_groups
from fedsim.observe.observer import Observer
from fedsim.phases import Goal
from fedsim.plan import HEAD, full
from fedsim.scenario.model import Model
from fedsim.world import World


def initial_head(layout: Layout, seed: int, objective: Objective, *key: str | int) -> FloatArray:
    """A fresh head; its numbers depend on the seed, on what is learned, and on the key."""
    return initialise(layout, rng.stream(seed, "init", HEAD, objective.kind, objective.label, *key))


def initial_mlm_head(layout: Layout, world: World, objective: Objective) -> FloatArray:
    """A fresh MLM head; before central pre-training its output bias has the token frequencies of the central text.

    Adam moves a bias by no more than the learning rate in a step: from zero it takes hundreds of steps until rare
    tokens are as rare in the model as in the text, and so long gradients tell of frequencies and hardly of context.
    """
    head = initial_head(layout, world.scenario.seed, objective)
    if world.scenario.phases.pretrain is not None and world.tokens is not None:
        bias, frequencies = layout.split(head)["bias"], unigram(world.tokens, world.central, whole=objective.whole)
        bias[...] = frequencies.min()
        bias[: len(frequencies)] = frequencies
    return head


def initial_groups(
    world: World,
    model: Model,
    key: str,
    architecture: Architecture,
    goal: Goal,
    engine: Engine,
    observer: Observer,
) -> dict[str, FloatArray]:
    """The global model before the first federated round, with the head of the first goal.

    Raises:
        UserError: the checkpoint lacks what is needed.
    """
    mlm = world.mlm_objective(model)
    pretrain = world.scenario.phases.pretrain
    groups = loaded_groups(world, model, key, architecture, observer)
    if pretrain is not None:
        lesson = Lesson(
            "pretrain", mlm, LocalShape.of(architecture, world.mlm_head(model), full(architecture.layers)), pretrain
        )
        groups = central.train(world, lesson, groups, None, engine, observer).groups
    if goal.head.kind == "mlm":
        return groups
    layout = layouts(architecture, goal.head)[HEAD]
    if model.checkpoint is not None and pretrain is None:
        loaded = read_groups(find(model.checkpoint, world.base, key), architecture, goal.head, key)
        if HEAD in loaded:
            return {**groups, HEAD: loaded[HEAD]}
    return {**groups, HEAD: initial_head(layout, world.scenario.seed, goal.objective)}


def fresh_groups(world: World, architecture: Architecture, objective: Objective) -> dict[str, FloatArray]:
    """A model with an MLM head that has learned nothing."""
    return {
        name: initial_mlm_head(layout, world, objective)
        if name == HEAD
        else initialise(layout, rng.stream(world.scenario.seed, "init", name))
        for name, layout in layouts(architecture, Head("mlm")).items()
    }


def loaded_groups(
    world: World, model: Model, key: str, architecture: Architecture, observer: Observer
) -> dict[str, FloatArray]:
    """A model with an MLM head: a checkpoint's, and fresh numbers for what it lacks.

    Raises:
        UserError: the checkpoint lacks what is needed.
    """
    fresh = fresh_groups(world, architecture, world.mlm_objective(model))
    if model.checkpoint is None:
        return fresh
    folder = find(model.checkpoint, world.base, f"{key}.checkpoint")
    loaded = read_groups(folder, architecture, Head("mlm"), f"{key}.checkpoint")
    if HEAD not in loaded and world.scenario.phases.further_pretrain is not None:
        observer.note(f"checkpoint {model.checkpoint} has no MLM head: it starts from random numbers")
    return {**fresh, **loaded}
