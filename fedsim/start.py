"""What every method starts from: fresh weights, a checkpoint, or central pre-training (cached)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version

from fedsim import rng
from fedsim.data.objective import Objective
from fedsim.engine.base import Engine
from fedsim.engine.tasks import Pretrained, PretrainTask
from fedsim.errors import UserError
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import FloatArray, Layout, initialise, layouts
from fedsim.model.pretrained import find, read_groups
from fedsim.observe.observer import Observer
from fedsim.phases import Goal
from fedsim.plan import HEAD, full
from fedsim.scenario.model import Model
from fedsim.store import atomic
from fedsim.world import World, cache_folder


def initial_head(layout: Layout, seed: int, objective: Objective, *key: str | int) -> FloatArray:
    """A fresh head; its numbers depend on the seed, on what is learned, and on the key."""
    return initialise(layout, rng.stream(seed, "init", HEAD, objective.kind, objective.label, *key))


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
    groups, source = _fresh_or_loaded(world, model, key, architecture, Head("mlm"), mlm, observer)
    if pretrain is not None:
        groups = _pretrained(world, architecture, mlm, groups, source, engine, observer)
    if goal.head.kind == "mlm":
        return groups
    layout = layouts(architecture, goal.head)[HEAD]
    if model.checkpoint is not None and pretrain is None:
        loaded = read_groups(find(model.checkpoint, world.base, key), architecture, goal.head, key)
        if HEAD in loaded:
            return {**groups, HEAD: loaded[HEAD]}
    return {**groups, HEAD: initial_head(layout, world.scenario.seed, goal.objective)}


def _fresh_or_loaded(
    world: World,
    model: Model,
    key: str,
    architecture: Architecture,
    head: Head,
    objective: Objective,
    observer: Observer,
) -> tuple[dict[str, FloatArray], str]:
    seed, wanted = world.scenario.seed, layouts(architecture, head)
    fresh = {
        name: initial_head(layout, seed, objective)
        if name == HEAD
        else initialise(layout, rng.stream(seed, "init", name))
        for name, layout in wanted.items()
    }
    if model.checkpoint is None:
        return fresh, f"seed {seed}"
    folder = find(model.checkpoint, world.base, f"{key}.checkpoint")
    loaded = read_groups(folder, architecture, head, f"{key}.checkpoint")
    if HEAD not in loaded and world.scenario.phases.further_pretrain is not None:
        observer.note(f"checkpoint {model.checkpoint} has no MLM head: it starts from random numbers")
    return {**fresh, **loaded}, atomic.sha256(folder / "model.safetensors")


def _pretrained(
    world: World,
    architecture: Architecture,
    objective: Objective,
    start: Mapping[str, FloatArray],
    source: str,
    engine: Engine,
    observer: Observer,
) -> dict[str, FloatArray]:
    """Central pre-training on the samples that belong to nobody; done once for the same data, model and settings."""
    config = world.scenario.phases.pretrain
    assert config is not None
    assert world.files is not None
    assert world.tokens is not None
    if not len(world.central):
        raise UserError("phases.pretrain needs text of its own: set it above 0", key="data.central_fraction")
    recipe = {
        "architecture": {name: value for name, value in asdict(architecture).items() if value is not None},
        "objective": asdict(objective),
        "config": config.model_dump(mode="json"),
        "tokens": world.tokens.fingerprint,
        "samples": hashlib.sha256(world.central.tobytes()).hexdigest(),
        "seed": world.scenario.seed,
        "start": source,
        "engine": [world.scenario.engine.device, world.scenario.engine.precision],
        "torch": version("torch"),
    }
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:24]
    file = cache_folder() / "pretrained" / f"{name}.safetensors"
    if file.is_file():
        observer.note(f"central pre-training: cached ({config.steps} steps)")
        return dict(atomic.read_tensors(file))
    plan, head = full(architecture.layers), Head("mlm")
    # hosts know a group by name and version, and another method's model may have groups of the same names
    prefix = f"pretrain/{name}/"
    for group, values in start.items():
        engine.publish(prefix + group, 0, values)
    task = PretrainTask(
        index=0,
        cost=1.0,
        shape=LocalShape.of(architecture, head, plan),
        prefix=prefix,
        groups={prefix + group: 0 for group in start},
        world=world.files,
        objective=objective,
        samples=world.central,
        config=config,
    )
    with observer.task(f"central pre-training, {config.steps} steps", None):
        (result,) = engine.run([task], "pretrain")
    assert isinstance(result, Pretrained)
    atomic.write_tensors(file, result.groups)
    (file.with_suffix(".json")).write_text(json.dumps({**recipe, "loss": result.loss}, indent=2))
    observer.note(f"central pre-training: mean loss {result.loss:.3f} over {config.steps} steps")
    return dict(result.groups)
