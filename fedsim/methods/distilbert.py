"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): half of the teacher's layers, copied from it, distilled or not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from fedsim.methods.student import Distil, DistilTask, Pair, Step, Student
from fedsim.model.architecture import Architecture
from fedsim.model.distillation import Distillation
from fedsim.scenario.base import Config, Flag, NonNegative, Positive, Problem


class SoftLabels(Config):
    """The terms of DistilBERT's loss."""

    soft_labels: NonNegative = 5.0
    """Weight of T^2 * KL(teacher, student)."""
    hard_labels: NonNegative = 2.0
    """Weight of the cross-entropy with the masked tokens, or with the labels."""
    cosine: NonNegative = 1.0
    """Weight of 1 - cos between the last hidden states."""
    temperature: Positive = 2.0
    """T: divides both models' logits in the soft labels."""
    positions: Literal["attended", "masked"] = "attended"
    """Where soft labels count: at every token that is not padding, or at the masked ones alone."""

    def steps(self, teacher: Architecture, where: Distil) -> Sequence[Step]:
        """One step with all terms."""
        distillation = Distillation(
            teacher,
            soft_labels=self.soft_labels,
            hard_labels=self.hard_labels,
            cosine=self.cosine,
            temperature=self.temperature,
            masked_only=self.positions == "masked",
        )
        return [Step("distillation", distillation, where.training)]

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """A cosine is between vectors of one length."""
        if self.cosine > 0 and student.hidden != teacher.hidden:
            fault = f"compares states of one width: the teacher's hidden is {teacher.hidden}, the student's"
            yield Problem(("loss", "cosine"), f"{fault} {student.hidden}; set it to 0")

    def problems(self) -> Iterator[Problem]:
        """There is something to learn from the teacher."""
        if not (self.soft_labels or self.cosine):
            yield Problem(("soft_labels",), "is 0, and so is cosine: nothing is learned from the teacher")


class TaskSoftLabels(SoftLabels):
    """The same for a task, with the weights of the authors' `run_squad_w_distillation.py`."""

    soft_labels: NonNegative = 0.5
    """Weight of T^2 * KL(teacher, student)."""
    hard_labels: NonNegative = 0.5
    """Weight of the cross-entropy with the labels."""
    cosine: NonNegative = 0.0
    """Weight of 1 - cos between the last hidden states."""


class DistilBERTGeneral(Distil):
    """Distillation of masked-language modelling (section 2 of the paper)."""

    loss: SoftLabels = SoftLabels()
    """What is compared."""

    def steps(self, pair: Pair) -> Sequence[Step]:
        """As the loss says."""
        return self.loss.steps(pair.teacher, self)

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """As the loss says."""
        return self.loss.misfits(teacher, student)


class DistilBERTTask(DistilTask):
    """A second distillation, in fine-tuning."""

    loss: TaskSoftLabels = TaskSoftLabels()
    """What is compared."""

    def steps(self, pair: Pair) -> Sequence[Step]:
        """As the loss says."""
        return self.loss.steps(pair.teacher, self)

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """As the loss says."""
        return self.loss.misfits(teacher, student)


class DistilBERT(Student):
    """A student with half of the layers, started from its teacher's (Sanh et al. 2019)."""

    kind: Literal["distilbert"] = "distilbert"
    vocab_transform: Flag = False
    """Copy the transform of the teacher's MLM head as well, and not its bias alone."""
    general: DistilBERTGeneral | None = None
    """Distil masked-language modelling from the pre-trained teacher; null: no."""
    task: DistilBERTTask | None = None
    """Distil the task of fine-tuning from a teacher that has learned it; null: no."""

    @property
    def copies_transform(self) -> bool:
        """As the option says."""
        return self.vocab_transform

    def sizes(self, teacher: Architecture) -> Architecture:
        """Half of the layers, neither token types nor pooler."""
        return replace(teacher, family="distilbert", layers=max(1, teacher.layers // 2), kept_heads=None)

    def problems(self) -> Iterator[Problem]:
        """Nothing is copied by half."""
        yield from super().problems()
        if self.vocab_transform and self.layer_init == "random":
            yield Problem(("vocab_transform",), "is not used: with layer_init random nothing is copied")
