"""TinyBERT (Jiao et al. 2020, arXiv 1909.10351): a shallow, narrow student that imitates its teacher layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from fedsim.methods.student import Distil, DistilTask, Pair, ServerTraining, Step, Student
from fedsim.model.architecture import Architecture
from fedsim.model.distillation import Distillation, layer_map
from fedsim.scenario.base import Config, Count, NonNegative, Positive, Problem, Whole, dotted

if TYPE_CHECKING:
    from fedsim.scenario.schema import Scenario


class LayerLosses(Config):
    """What a student's layers are to have in common with its teacher's."""

    attention: Literal["scores_mse", "probs_kl", "off"] = "scores_mse"
    """Attention matrices, head by head: squared error of the scores before the softmax, or KL after it."""
    hidden: Positive = 1.0
    """Weight of the squared error of the projected hidden states."""
    embeddings: NonNegative = 1.0
    """Weight of the squared error of the projected embeddings."""
    layer_map: Literal["uniform", "top", "bottom", "list"] = "uniform"
    """g, the teacher's layer for each layer of the student: every N/M-th, the last ones, the first ones, or a list."""
    layers: tuple[Count, ...] | None = None
    """With `layer_map: list`: g(1), g(2) ...; 1 is the teacher's lowest layer."""
    layer_weights: tuple[Positive, ...] | None = None
    """lambda: weight of attention and hidden states of every layer of the student; null: 1."""

    def distillation(self, pair: Pair) -> Distillation:
        """These terms between models of these sizes, which fit."""
        teacher, depth = pair.teacher, pair.student.layers
        listed = self.layers or ()
        return Distillation(
            teacher,
            layer_map=listed if self.layer_map == "list" else layer_map(self.layer_map, depth, teacher.layers),
            layer_weights=self.layer_weights or (1.0,) * depth,
            attention=self.attention,
            hidden=self.hidden,
            embeddings=self.embeddings,
        )

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """A layer for every layer, a weight for every layer, a head for every head."""
        if self.attention != "off" and (teacher.kept_heads or student.kept_heads):
            yield Problem(("loss", "attention"), "compares head by head, and some heads are pruned; set it to off")
        elif self.attention != "off" and student.heads != teacher.heads:
            fault = f"compares head by head: the teacher has {teacher.heads} heads, the student {student.heads}"
            yield Problem(("loss", "attention"), f"{fault}; set it to off, or give both the same")
        for name, listed in (("layers", self.layers), ("layer_weights", self.layer_weights)):
            if listed is not None and len(listed) != student.layers:
                fault = f"must have {student.layers} entries, one for each layer of the student; given {len(listed)}"
                yield Problem(("loss", name), fault)
        for index, place in enumerate(self.layers or ()):
            if place > teacher.layers:
                yield Problem(("loss", "layers", index), f"is {place}, the teacher's layers are 1 to {teacher.layers}")
        if self.layer_map != "list":
            try:
                layer_map(self.layer_map, student.layers, teacher.layers)
            except ValueError as error:
                yield Problem(("loss", "layer_map"), f"is {self.layer_map}: {error}")

    def problems(self) -> Iterator[Problem]:
        """A list is given where it is asked for, and nowhere else."""
        if (self.layer_map == "list") != (self.layers is not None):
            yield Problem(("layers",), "goes with layer_map: list, and is required by it")


class SoftTarget(Config):
    """The prediction's loss."""

    soft_labels: Positive = 1.0
    """Weight of the cross-entropy under the teacher's distribution."""
    hard_labels: NonNegative = 0.0
    """Weight of the cross-entropy with the labels themselves."""
    temperature: Positive = 1.0
    """t: divides both models' logits in the soft labels."""

    def distillation(self, pair: Pair) -> Distillation:
        """This term with a teacher of these sizes."""
        return Distillation(
            pair.teacher,
            soft_labels=self.soft_labels,
            hard_labels=self.hard_labels,
            temperature=self.temperature,
            soft_loss="cross_entropy",
        )


class TinyBERTGeneral(Distil):
    """General distillation: embeddings, attention and hidden states of the pre-trained teacher."""

    loss: LayerLosses = LayerLosses()
    """What is compared."""

    def steps(self, pair: Pair) -> Sequence[Step]:
        """The layers alone: the head learns nothing here."""
        return [Step("layers", self.loss.distillation(pair), self.training)]

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """As the loss says."""
        return self.loss.misfits(teacher, student)


class TinyBERTTask(DistilTask):
    """Task-specific distillation: the layers first, then the prediction."""

    intermediate: ServerTraining | None = None
    """How the server distils the layers, before `training` distils the prediction; null: it does not."""
    intermediate_rounds: Whole | None = None
    """With `where: clients`: rounds for the layers, before those for the prediction; null: half of the phase's."""
    loss: LayerLosses = LayerLosses()
    """What is compared in the layers."""
    prediction: SoftTarget = SoftTarget()
    """What is compared at the head."""

    def steps(self, pair: Pair) -> Sequence[Step]:
        """The layers, where they are asked for, then the prediction."""
        layers = Step("layers", self.loss.distillation(pair), self.intermediate)
        prediction = Step("prediction", self.prediction.distillation(pair), self.training)
        return [layers, prediction] if self.where == "clients" or self.intermediate is not None else [prediction]

    def rounds(self, rounds: int) -> Sequence[int]:
        """Half of the rounds for the layers, or as many as asked for."""
        first = rounds // 2 if self.intermediate_rounds is None else self.intermediate_rounds
        return (first, rounds - first)

    def misfits(self, teacher: Architecture, student: Architecture) -> Iterator[Problem]:
        """As the loss of the layers says, where they are compared."""
        if self.where == "clients" or self.intermediate is not None:
            yield from self.loss.misfits(teacher, student)

    def problems(self) -> Iterator[Problem]:
        """Steps belong to the server, rounds to the clients."""
        yield from super().problems()
        if self.where == "clients" and self.intermediate is not None:
            yield Problem(("intermediate",), "goes with where: server; on clients give intermediate_rounds")
        if self.where == "server" and self.intermediate_rounds is not None:
            yield Problem(("intermediate_rounds",), "goes with where: clients; for the server give intermediate")


class TinyBERT(Student):
    """A shallow student, narrow or not, that imitates its teacher's layers (Jiao et al. 2020)."""

    kind: Literal["tinybert"] = "tinybert"
    size: Literal[4, 6] = 4
    """TinyBERT-4: a third of the teacher's layers and 13/32 of its width; TinyBERT-6: half of the layers, its width."""
    layer_init: Literal["skip", "average", "random"] = "random"
    """Fresh numbers; or, in a student of its teacher's width, evenly spread layers of it, or means of runs."""
    general: TinyBERTGeneral | None = None
    """General distillation, from the pre-trained teacher; null: no."""
    task: TinyBERTTask | None = None
    """Task-specific distillation, from a teacher that has learned the task; null: no."""

    def sizes(self, teacher: Architecture) -> Architecture:
        """Of BERT-base 4 layers, 312 and 1200 wide, or 6 layers; the depth divides the teacher's, heads are as many."""
        most = max(1, teacher.layers // (3 if self.size == 4 else 2))
        layers = next(depth for depth in range(most, 0, -1) if teacher.layers % depth == 0)
        whole = replace(teacher, layers=layers, kept_heads=None)
        if self.size == 6:
            return whole
        hidden = teacher.heads * max(1, round(13 * teacher.hidden / (32 * teacher.heads)))
        return replace(whole, hidden=hidden, feed_forward=max(1, round(25 * teacher.feed_forward / 64)))

    def problems(self) -> Iterator[Problem]:
        """A model of one's own has its sizes."""
        yield from super().problems()
        if self.model is not None and "size" in self.model_fields_set:
            yield Problem(("size",), "is not used: `model` says the student's sizes")

    def world_problems(self, scenario: "Scenario") -> Iterator[Problem]:
        """There are as many rounds as the layers are to have."""
        yield from super().world_problems(scenario)
        wanted = None if self.task is None else self.task.intermediate_rounds
        for phase in scenario.phases.federated:
            if phase.kind == "finetune" and wanted is not None and wanted > phase.config.rounds:
                fault = f"is {wanted}, {dotted(phase.key)} has {phase.config.rounds} rounds"
                yield Problem(("task", "intermediate_rounds"), fault)
