"""What a method's server trains before a phase begins: students, and teachers on the task.

A method without a student has no lessons, and starts as `fedsim.start` says.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from fedsim import central, rng
from fedsim.cost.flops import flops
from fedsim.engine.base import Engine
from fedsim.errors import UserError
from fedsim.fleet.devices import of_class
from fedsim.methods.base import Lesson
from fedsim.methods.student import Student
from fedsim.model.architecture import Head
from fedsim.model.layout import FloatArray, Groups, Layout, initialise, layouts, pack
from fedsim.model.pretrained import find, read_groups
from fedsim.model.student import copied
from fedsim.observe.observer import Observer
from fedsim.phases import Phase, Prepared
from fedsim.plan import HEAD, PROJECTION, TEACHER
from fedsim.plan_costs import PlanCosts
from fedsim.start import fresh_groups, initial_groups, initial_head, loaded_groups
from fedsim.world import World


class Teaching:
    """The lessons of one method.

    Raises:
        UserError: the server is of no known class, or there is nothing to train on.
    """

    def __init__(self, prepared: Prepared, world: World, engine: Engine | None, observer: Observer) -> None:
        self.prepared, self.world, self.engine, self.observer = prepared, world, engine, observer
        self._losses: dict[Lesson, float] = {}
        method = prepared.method
        self._device = method.device if isinstance(method, Student) else "server_gpu"
        self._flops_per_s = float(of_class(self._device, key=f"methods.{prepared.name}.device").flops_per_s[0])
        for lesson in prepared.lessons:
            central.public(world, lesson.objective)

    def start(self) -> dict[str, FloatArray]:
        """The global model before the first round, with all that the server trains before it.

        Raises:
            UserError: a checkpoint lacks what is needed.
        """
        item, world, engine = self.prepared, self.world, self.engine
        assert engine is not None
        goal = item.goal_after(0)
        if item.teacher is None:
            return initial_groups(world, item.model, item.key, item.architecture, goal, engine, self.observer)
        groups = self._student()
        for lesson in item.general:
            groups |= self._learned(lesson, groups, self._pretrained)
        if goal.head.kind != "mlm":
            layout = layouts(item.architecture, goal.head)[HEAD]
            groups[HEAD] = initial_head(layout, world.scenario.seed, goal.objective)
        return groups | self.enter(item.phases[0], groups) if item.phases else groups

    def enter(self, phase: Phase, groups: Groups) -> dict[str, FloatArray]:
        """The groups that the server replaces before a phase's first round.

        Args:
            phase: about to begin.
            groups: the global model with the phase's head.
        """
        found: dict[str, FloatArray] = {}
        if TEACHER in self.prepared.layouts(phase, phase.stages[0]):
            found[TEACHER] = np.zeros(0, np.float32)
        if not (phase.lessons or phase.taught):
            return found
        teacher = self._pretrained if phase.objective.kind == "mlm" else self._fine_tuned(phase)
        for lesson in phase.lessons:
            if lesson.shape.distillation is not None:
                found |= self._learned(lesson, {**groups, **found}, teacher)
        if phase.taught:
            found[TEACHER] = self._packed(teacher, phase.head)
        return found

    def replaced(self, phase: Phase) -> tuple[str, ...]:
        """Names of these groups, for when nothing is trained."""
        names = set(self.prepared.layouts(phase, phase.stages[0]))
        taught = [lesson.shape.distillation for lesson in phase.lessons if lesson.shape.distillation is not None]
        if not taught:
            names &= {TEACHER}
        elif not any(distillation.projection for distillation in taught):
            names -= {PROJECTION}
        return tuple(sorted(names))

    def costs(self, before: int, costs: PlanCosts, now_s: float) -> Iterator[dict[str, Any]]:
        """Rows of the trace for what is trained before a round (-1: the first), one after the other from `now_s` on."""
        for phase, lesson in self.prepared.lessons_before(before):
            work, price = central.work(self.world, lesson), flops(lesson.shape)
            forward, backward = int(price.forward.total(work)[0]), int(price.backward.total(work)[0])
            memory = costs.memory[lesson.shape, lesson.config.optimizer]
            end_s = now_s + (forward + backward) / self._flops_per_s
            yield {
                "phase": phase,
                "round": before,
                "lesson": lesson.name,
                "device": self._device,
                "steps": lesson.config.steps,
                "samples": int(work.samples[0]),
                "tokens": int(work.tokens[0]),
                "real_tokens": int(work.real_tokens[0]),
                "flops_forward": forward,
                "flops_backward": backward,
                "memory_bytes": int(memory.at(work.largest_batch)[0]),
                "start_s": now_s,
                "end_s": end_s,
                "loss": self._losses.get(lesson),
            }
            now_s = end_s

    def _learned(self, lesson: Lesson, groups: Groups, teacher: Groups) -> dict[str, FloatArray]:
        """The student after a lesson; a projection that this lesson does not use stays as it is."""
        assert self.engine is not None
        own = {name: groups[name] for name in layouts(self.prepared.architecture, lesson.shape.head)}
        if lesson.shape.distillation is not None and lesson.shape.distillation.projection:
            own[PROJECTION] = groups[PROJECTION]
        learned = central.train(
            self.world, lesson, own, self._packed(teacher, lesson.shape.head), self.engine, self.observer
        )
        self._losses[lesson] = learned.loss
        return learned.groups

    def _packed(self, teacher: Groups, head: Head) -> FloatArray:
        """The teacher as one group."""
        assert self.prepared.teacher is not None
        return pack({name: teacher[name] for name in layouts(self.prepared.teacher, head)})

    def _student(self) -> dict[str, FloatArray]:
        """The student with an MLM head, before its first lesson."""
        item, world, seed = self.prepared, self.world, self.world.scenario.seed
        method, architecture = item.method, item.architecture
        assert isinstance(method, Student)
        assert item.teacher is not None
        assert self.engine is not None
        slots = method.start(item.teacher, architecture)
        if slots is not None:
            fresh = fresh_groups(world, architecture, item.pretraining.objective)
            groups = copied(self._pretrained, item.teacher, architecture, slots, fresh, method.copies_transform)
        elif item.general:
            groups = loaded_groups(world, item.model, item.key, architecture, self.observer)
        else:  # neither copied nor distilled: pre-trained like any other model
            goal = item.pretraining
            groups = initial_groups(world, item.model, item.key, architecture, goal, self.engine, self.observer)
        if item.projection is not None:
            groups[PROJECTION] = initialise(item.projection, rng.stream(seed, "init", PROJECTION))
        return groups

    @cached_property
    def _pretrained(self) -> dict[str, FloatArray]:
        """The teacher with an MLM head: the scenario's model before the first round."""
        item, world = self.prepared, self.world
        assert item.teacher is not None
        assert self.engine is not None
        return initial_groups(
            world, world.scenario.model, "model", item.teacher, item.pretraining, self.engine, self.observer
        )

    def _fine_tuned(self, phase: Phase) -> dict[str, FloatArray]:
        """The teacher with the head of a task."""
        item, world = self.prepared, self.world
        assert item.teacher is not None
        assert self.engine is not None
        lesson = next((lesson for lesson in phase.lessons if lesson.shape.distillation is None), None)
        if lesson is None:
            return self._checkpoint(phase.head)
        layout: Layout = layouts(item.teacher, phase.head)[HEAD]
        start = {**self._pretrained, HEAD: initial_head(layout, world.scenario.seed, phase.objective)}
        learned = central.train(world, lesson, start, None, self.engine, self.observer)
        self._losses[lesson] = learned.loss
        return learned.groups

    def _checkpoint(self, head: Head) -> dict[str, FloatArray]:
        checkpoint, teacher = self.world.scenario.model.checkpoint, self.prepared.teacher
        assert checkpoint is not None
        assert teacher is not None
        groups = read_groups(find(checkpoint, self.world.base, "model.checkpoint"), teacher, head, "model.checkpoint")
        if HEAD not in groups:
            raise UserError(
                f"is required: {checkpoint} has no {head.kind} head of {head.classes} classes",
                key=f"methods.{self.prepared.name}.task.teacher",
            )
        return groups
