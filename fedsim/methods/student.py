"""What DistilBERT and TinyBERT share: a light model, its teacher, and where the one learns from the other.

The teacher is the scenario's model, as it is before the first round. A student may learn from it on the server, over
the samples that belong to no client, or on the clients, who download the teacher and keep it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fedsim.methods.base import Federated, Lesson, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.distillation import Distillation
from fedsim.model.student import averaged, skipped
from fedsim.plan import Plan, Slot, full
from fedsim.scenario.base import Config, Problem, Text
from fedsim.scenario.data import DeclaredCorpus
from fedsim.scenario.model import Model
from fedsim.scenario.phases import Pretrain

if TYPE_CHECKING:
    from fedsim.data.objective import Objective
    from fedsim.scenario.schema import Scenario

Section = Literal["general", "task"]


class ServerTraining(Pretrain):
    """Training on the server, on the samples that belong to no client (`data.central_fraction`)."""


@dataclass(frozen=True)
class Pair:
    """A student's and its teacher's sizes, and the head that both have."""

    student: Architecture
    teacher: Architecture
    head: Head

    def plan(self, distillation: Distillation | None = None) -> Plan:
        """The whole student is trained; a head that no term of its loss looks at is not."""
        plan = full(self.student.layers)
        if distillation is None:
            return plan
        return replace(plan, distillation=distillation, train_head=distillation.logits)


@dataclass(frozen=True)
class Step:
    """A part of a distillation."""

    name: str
    distillation: Distillation
    config: ServerTraining | None
    """How the server trains; None: clients do."""


class Distil(Config):
    """Where a student learns from its teacher."""

    where: Literal["server", "clients"] = "server"
    """On the server before the phase begins, or on the clients in its rounds."""
    training: ServerTraining | None = None
    """How the server trains the student; required with `where: server`."""

    def steps(self, pair: Pair) -> Sequence[Step]:
        """What is learned, in order."""
        raise TypeError(f"{type(self).__name__} does not say what is learned")

    def rounds(self, rounds: int) -> Sequence[int]:
        """How a phase's rounds are shared out to the steps, where clients take them."""
        return (rounds,)

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """What cannot be compared between models of these sizes."""
        yield from ()

    def problems(self) -> Iterator[Problem]:
        """The server has steps of its own, the clients have those of their phase."""
        if self.where == "server" and self.training is None:
            yield Problem(("training",), "is required with where: server: give at least its steps")
        if self.where == "clients" and self.training is not None:
            yield Problem(("training",), "goes with where: server; clients train as the phase says")


class DistilTask(Distil):
    """Distillation for the task of fine-tuning, from a teacher that has learned it."""

    teacher: ServerTraining | None = None
    """How the server fine-tunes the teacher; null: the scenario's checkpoint has a head for the task already."""


class Student(Federated):
    """Options of methods that train a light model with the scenario's model as its teacher."""

    layer_init: Literal["skip", "average", "random"] = "skip"
    """Layers start as evenly spread ones of the teacher (0, 2, 4, 7, 9, 11 of 12), as means of runs of it, or fresh."""
    general: Distil | None = None
    """Distil masked-language modelling from the pre-trained teacher; null: no."""
    task: DistilTask | None = None
    """Distil the task of fine-tuning from a teacher that has learned it; null: no."""
    device: Text = "server_gpu"
    """Device class of the server, where the student or its teacher is trained there."""

    @property
    def copies_transform(self) -> bool:
        """The MLM head is copied whole, not just its bias."""
        return False

    @property
    def sections(self) -> dict[Section, Distil]:
        """The distillations that are asked for."""
        asked: dict[Section, Distil | None] = {"general": self.general, "task": self.task}
        return {name: section for name, section in asked.items() if section is not None}

    def sizes(self, teacher: Architecture) -> Architecture:
        """The student's sizes, where `model` does not say them."""
        raise TypeError(f"{type(self).__name__} does not say what its student is")

    def start(self, teacher: Architecture, student: Architecture) -> tuple[Slot, ...] | None:
        """The teacher's layer, or several to average, for every layer of the student; None: nothing is copied."""
        if self.layer_init == "random" or (self.model is not None and self.model.checkpoint is not None):
            return None
        return (skipped if self.layer_init == "skip" else averaged)(student.layers, teacher.layers)

    def stages(
        self,
        phase: PhaseName,
        rounds: int,
        architecture: Architecture,
        head: Head,
        teacher: Architecture | None = None,
    ) -> Sequence[Stage]:
        """FedAvg on the student; on clients that learn from the teacher one stage for every step of it.

        Raises:
            ValueError: clients learn from a teacher whose sizes are not given.
        """
        asked = self.sections.get(_section(phase))
        if asked is None or asked.where == "server":
            return [Stage(rounds, (full(architecture.layers),), "light model")]
        if teacher is None:
            raise ValueError("clients that learn from a teacher need its sizes")
        pair = Pair(architecture, teacher, head)
        return [
            Stage(own, (pair.plan(step.distillation),), f"light model, {step.name}")
            for step, own in zip(asked.steps(pair), asked.rounds(rounds), strict=True)
            if own
        ]

    def models(self, scenario: Model) -> tuple[Model, ...]:
        """The scenario's is the teacher."""
        return (scenario, *super().models(scenario))

    def lessons(self, section: Section, pair: Pair, objective: "Objective") -> list[Lesson]:
        """What the server trains before a phase: the teacher on the task, then the student."""
        asked, found = self.sections.get(section), list[Lesson]()
        if isinstance(asked, DistilTask) and asked.teacher is not None:
            shape = LocalShape.of(pair.teacher, pair.head, full(pair.teacher.layers))
            found.append(Lesson("teacher", objective, shape, asked.teacher))
        for step in () if asked is None else asked.steps(pair):
            if step.config is not None:
                shape = LocalShape.of(pair.student, pair.head, pair.plan(step.distillation))
                seen = taught_objective(objective, step.distillation)
                found.append(Lesson(f"{section} {step.name}", seen, shape, step.config))
        return found

    def problems(self) -> Iterator[Problem]:
        """A checkpoint has weights of its own."""
        yield from super().problems()
        if self.model is not None and self.model.checkpoint is not None and "layer_init" in self.model_fields_set:
            yield Problem(("layer_init",), "is not used: the student's weights come from model.checkpoint")

    def world_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        """What the sections ask of the scenario, and of the two models where their sizes are given as numbers."""
        declared, phases = isinstance(scenario.data.corpus, DeclaredCorpus), scenario.phases
        for section, asked in self.sections.items():
            wanted = "further_pretrain" if section == "general" else "finetune"
            if getattr(phases, wanted) is None and (section == "task" or asked.where == "clients"):
                yield Problem((section,), f"needs phases.{wanted}, which the scenario does not have")
            public = asked.where == "server" or (isinstance(asked, DistilTask) and asked.teacher is not None)
            if public and declared:
                yield Problem((section,), "needs text on the server, and declared data has none")
            elif public and scenario.data.central_fraction == 0.0:
                fault = "needs a public share of the text: give data.central_fraction a value between 0 and 1"
                yield Problem((section,), fault)
            untaught = scenario.model.checkpoint is None and phases.pretrain is None
            if section == "general" and untaught and not declared:
                yield Problem((section,), "its teacher has learned nothing: give phases.pretrain or model.checkpoint")
            if isinstance(asked, DistilTask) and asked.teacher is None and scenario.model.checkpoint is None:
                yield Problem((section, "teacher"), "is required: its teacher has no head for the task")
        yield from self._sizes_problems(scenario)

    def _sizes_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        own = self.model
        if scenario.model.checkpoint is not None or (own is not None and own.checkpoint is not None):
            return
        teacher = _numbers(scenario.model)
        student = self.sizes(teacher) if own is None else _numbers(own)
        if not (teacher.vocabulary and student.vocabulary):  # one has as many entries as the tokenizer, yet unknown
            student = replace(student, vocabulary=teacher.vocabulary)
        yield from self.misfits(teacher, student)

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """What does not fit between a teacher and a student of these sizes."""
        if self.start(teacher, student) is not None:
            for fault in _copy_faults(teacher, student):
                yield Problem(("layer_init",), fault)
        elif self.sections and student.vocabulary != teacher.vocabulary:
            fault = f"is {student.vocabulary}, its teacher (`model`) has {teacher.vocabulary}: they must share one"
            yield Problem(("model", "vocabulary"), fault)
        elif self.sections and student.max_positions > teacher.max_positions:
            fault = f"is {student.max_positions}, its teacher (`model`) takes only {teacher.max_positions}"
            yield Problem(("model", "max_positions"), fault)
        for section, asked in self.sections.items():
            for problem in asked.misfits(teacher, student):
                yield Problem((section, *problem.key), problem.message)


def taught_objective(objective: "Objective", distillation: Distillation | None) -> "Objective":
    """The samples as a student sees them: soft labels at every attended token take logits at every one."""
    if distillation is None or objective.kind != "mlm":
        return objective
    return replace(objective, attended=distillation.teacher_logits and not distillation.masked_only)


def _section(phase: PhaseName) -> Section:
    return "general" if phase == "further_pretrain" else "task"


def _numbers(model: Model) -> Architecture:
    sizes = {"family", "hidden", "layers", "heads", "feed_forward", "max_positions", "dropout"}
    return Architecture(vocabulary=model.vocabulary or 0, **model.model_dump(include=sizes))


def _copy_faults(teacher: Architecture, student: Architecture) -> Iterator[str]:
    if teacher.kept_heads:
        yield "copies the teacher (`model`), some of whose heads are pruned: set it to random"
    for name in ("vocabulary", "hidden", "heads", "feed_forward", "max_positions"):
        own, its = getattr(student, name), getattr(teacher, name)
        if own != its:
            yield f"copies the teacher (`model`), whose {name} is {its}, the student's {own}: set it to random"
    if student.layers > teacher.layers:
        yield f"copies the teacher (`model`), which has {teacher.layers} layers, the student {student.layers}"
