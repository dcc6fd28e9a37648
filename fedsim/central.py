"""Training in one place, on the samples that belong to no client: done once for the same start, text and settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from fedsim import rng
from fedsim.data.batches import as_work, draws, measure
from fedsim.data.objective import Objective
from fedsim.data.work import IntArray, Work
from fedsim.engine.base import Engine
from fedsim.engine.tasks import CentralTask, Pretrained
from fedsim.errors import FedsimError, UserError
from fedsim.methods.base import Lesson
from fedsim.model.layout import FloatArray, Groups
from fedsim.observe.observer import Observer
from fedsim.plan import TEACHER
from fedsim.store import atomic
from fedsim.world import World, cache_folder


@dataclass(frozen=True)
class Learned:
    """What a training in one place leaves."""

    groups: dict[str, FloatArray]
    loss: float
    """Mean over its steps."""


def public(world: World, objective: Objective) -> IntArray:
    """Samples that belong to no client and that the objective can use, ascending.

    Raises:
        UserError: there are none.
    """
    samples = world.central
    if world.tokens is not None and objective.label in world.tokens.labels:
        samples = samples[world.tokens.labels[objective.label][samples] >= 0]
    if not len(samples):
        what = f"with a label '{objective.label}' " if objective.kind != "mlm" else ""
        raise UserError(f"leaves no sample {what}for the server: set it higher", key="data.central_fraction")
    return samples


def work(world: World, lesson: Lesson) -> Work:
    """What there is to compute, from lengths alone; one entry."""
    samples, examples = public(world, lesson.objective), world.examples(lesson.objective)
    batches = [np.searchsorted(samples, batch) for batch in _batches(world, lesson, samples)]
    longest, width = lesson.shape.architecture.max_positions, lesson.objective.width
    row = measure(examples.lengths(samples), examples.counts(samples), batches, longest, width)
    return as_work(row[None])


def train(
    world: World,
    lesson: Lesson,
    start: Groups,
    teacher: FloatArray | None,
    engine: Engine,
    observer: Observer,
) -> Learned:
    """Train, or find what was trained before.

    Args:
        world: has the samples.
        lesson: what is learned, and how.
        start: groups of the model that learns.
        teacher: its teacher as one vector, where it has one.
        engine: where to compute.
        observer: told about progress.

    Raises:
        UserError: there is no sample to train on.
        FedsimError: the steps were so long that the model is no longer finite.
    """
    assert world.files is not None
    assert world.tokens is not None
    samples, config = public(world, lesson.objective), lesson.config
    given = {**start, **({} if teacher is None else {TEACHER: teacher})}
    recipe = {
        "lesson": lesson.name,
        "shape": asdict(lesson.shape, dict_factory=_said),
        "objective": asdict(lesson.objective, dict_factory=_said),
        "config": config.model_dump(mode="json"),
        "tokens": world.tokens.fingerprint,
        "samples": hashlib.sha256(samples.tobytes()).hexdigest(),
        "seed": world.scenario.seed,
        "start": _digest(given),
        "engine": [world.scenario.engine.device, world.scenario.engine.precision, world.scenario.engine.threads],
        "torch": version("torch"),
    }
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:24]
    file = cache_folder() / "pretrained" / f"{name}.safetensors"
    title = "central pre-training" if lesson.name == "pretrain" else f"{lesson.name} on the server"
    if file.is_file():
        observer.note(f"{title}: cached ({config.steps} steps)")
        loss = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["loss"]
        return Learned(dict(atomic.read_tensors(file)), float(loss))
    # hosts know a group by name and version, and another method's model may have groups of the same names
    prefix = f"central/{name}/"
    for group, values in given.items():
        engine.publish(prefix + group, 0, values)
    task = CentralTask(
        index=0,
        cost=1.0,
        shape=lesson.shape,
        prefix=prefix,
        groups={prefix + group: 0 for group in given},
        world=world.files,
        objective=lesson.objective,
        purpose=lesson.name,
        samples=samples,
        config=config,
    )
    with observer.task(f"{title}, {config.steps} steps", None):
        (result,) = engine.run([task], f"server/{lesson.name}")
    assert isinstance(result, Pretrained)
    if not all(np.isfinite(values.sum(dtype=np.float64)) for values in result.groups.values()):
        raise FedsimError(f"{title} left no finite model after {config.steps} steps: lower its learning rate")
    file.parent.mkdir(parents=True, exist_ok=True)
    # the weights come last: where they are, the loss is there too
    atomic.write_json(file.with_suffix(".json"), {**recipe, "loss": result.loss})
    atomic.write_tensors(file, result.groups)
    observer.note(f"{title}: mean loss {result.loss:.3f} over {config.steps} steps")
    return Learned(dict(result.groups), result.loss)


def _batches(world: World, lesson: Lesson, samples: IntArray) -> Iterator[IntArray]:
    draw = rng.stream(world.scenario.seed, lesson.name, "batches")
    return draws(samples, lesson.config.steps, lesson.config.batch_samples, draw)


def _said(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """What says nothing is left out where it came later, so that what is in the cache is found again."""
    return {name: value for name, value in fields if value or name not in ("decoder", "whole")}


def _digest(groups: Mapping[str, FloatArray]) -> str:
    digest = hashlib.sha256()
    for name, values in groups.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values, "<f4").tobytes())
    return digest.hexdigest()
