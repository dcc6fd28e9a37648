"""The `phases` section: what is trained, in which order, and for how long."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Discriminator, Field, Strict, Tag

from fedsim.scenario.base import Config, Count, Fraction, Key, NonNegative, Positive, Problem, Rate, Text, Whole
from fedsim.scenario.participation import Participation


class Optimizer(Config):
    """The optimizer of local training."""

    kind: Literal["sgd", "adamw"] = "adamw"
    """`torch.optim.SGD` or `torch.optim.AdamW`."""
    learning_rate: Positive = 5e-5
    """Step size."""
    head_learning_rate: Positive | None = None
    """Step size of the head, which often starts from random numbers on a trained body; null: as everything else."""
    weight_decay: NonNegative = 0.0
    """Decay of matrices; biases and LayerNorm have none."""
    momentum: Rate = 0.0
    """SGD only."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW only."""
    eps: Positive = 1e-8
    """AdamW only."""

    @property
    def plain(self) -> bool:
        """Whether a step is the gradient times a rate, and nothing else."""
        return self.kind == "sgd" and not self.momentum and not self.weight_decay

    def problems(self) -> Iterator[Problem]:
        """Nothing is set that this optimizer does not have."""
        others = {"sgd": ("betas", "eps"), "adamw": ("momentum",)}
        for name in others[self.kind]:
            if self.changed(name):
                other = "adamw" if self.kind == "sgd" else "sgd"
                yield Problem((name,), f"goes with kind: {other}, kind is {self.kind}")


class Local(Config):
    """What a client does with its shard in a round."""

    epochs: Count = 1
    """Passes over the shard."""
    max_batches: Count | None = None
    """At most this many batches a round, drawn at random; null: all of them."""
    batch_samples: Count = 8
    """Samples in a batch."""
    order: Literal["grouped", "fixed"] = "grouped"
    """`grouped`: batches of similar length in random order; `fixed`: as the shard lists them."""
    optimizer: Optimizer = Optimizer()
    """How weights are updated."""
    clip_norm: Positive | None = None
    """Largest gradient norm over the trained parameters; null: no clipping."""


class Pretrain(Config):
    """Central pre-training (MLM) before any method starts; cached by fingerprint."""

    steps: Count
    """Batches to train on."""
    batch_samples: Count = 16
    """Samples in a batch."""
    optimizer: Optimizer = Optimizer()
    """How weights are updated."""
    warmup_steps: Whole = 0
    """Steps over which the learning rate rises from zero; afterwards it falls linearly to zero."""
    clip_norm: Positive | None = None
    """Largest gradient norm; null: no clipping."""

    def problems(self) -> Iterator[Problem]:
        """The warm-up ends before the training does."""
        if self.warmup_steps > self.steps:
            yield Problem(("warmup_steps",), f"is {self.warmup_steps}, there are only {self.steps} steps")


class Task(Config):
    """What is learned in fine-tuning."""

    kind: Literal["sequence", "tokens"] = "sequence"
    """One label a sample, or BIO tags over its tokens."""
    label: Text = "kind"
    """Name of the label or tag column."""


class CurriculumStep(Config):
    """Rounds in which only the easier samples of every client count; with neither measure, all of them."""

    rounds: Count
    """Rounds of this step."""
    max_tokens: Annotated[int, Strict(), Field(ge=3)] | None = None
    """Samples of at most this many tokens count, special tokens included."""
    frequent_words: Fraction | None = None
    """Share of a client's samples that count: those with the most frequent words."""
    words: Literal["mean", "rarest"] = "mean"
    """A sample's place in that order: by the mean rank of its words, or by the rank of the rarest."""

    def problems(self) -> Iterator[Problem]:
        """A step has one measure."""
        if self.max_tokens is not None and self.frequent_words is not None:
            yield Problem(("frequent_words",), "give either max_tokens or frequent_words, not both")
        if self.changed("words") and self.frequent_words is None:
            yield Problem(("words",), "goes with frequent_words, which this step does not have")


class Federated(Config):
    """A federated phase."""

    rounds: Count
    """Rounds of this phase."""
    participation: Participation
    """Who takes part."""
    local: Local = Local()
    """What each client does."""
    evaluate_every_rounds: Whole = 0
    """Evaluate the global model after every so many rounds, and always after the last; 0: only after the last."""
    curriculum: Annotated[tuple[CurriculumStep, ...], Field(min_length=1)] | None = None
    """Steps from easy samples to all of them; null: all samples count in every round."""

    def step(self, index: int) -> CurriculumStep | None:
        """Where the curriculum stands in a round of this phase, from 0."""
        for step in self.curriculum or ():
            index -= step.rounds
            if index < 0:
                return step
        return None

    def problems(self) -> Iterator[Problem]:
        """A replay has a cohort for every round, and a curriculum a step."""
        if self.curriculum is not None and (planned := sum(step.rounds for step in self.curriculum)) != self.rounds:
            yield Problem(("curriculum",), f"its steps add up to {planned} rounds, `rounds` is {self.rounds}")
        cohorts = self.participation.cohorts
        if cohorts is not None and len(cohorts) != self.rounds:
            yield Problem(("participation", "cohorts"), f"lists {len(cohorts)} rounds, `rounds` is {self.rounds}")


class FurtherPretrain(Federated):
    """Federated masked-language modelling on the clients' text."""

    mask_fraction: Fraction = 0.15
    """Share of the tokens to predict (80 % masked, 10 % replaced, 10 % kept: Devlin et al. 2019, 3.1)."""


class Finetune(Federated):
    """Federated fine-tuning on a labelled task."""

    task: Task = Task()
    """What is learned."""


class Changes(Config):
    """What one method does in another way than the phase says; null: as it says."""

    rounds: Count | None = None
    """Rounds of this phase."""
    participation: Participation | None = None
    """Who takes part in a round, and how long the server waits; in place of the whole section."""
    evaluate_every_rounds: Whole | None = None
    """Evaluate after every so many rounds."""


class PhaseChanges(Config):
    """For each kind of phase; of several fine-tuning tasks, for all of them."""

    further_pretrain: Changes = Changes()
    """In further pre-training."""
    finetune: Changes = Changes()
    """In fine-tuning."""


class Personal(Config):
    """Tests on samples of the clients' own."""

    fraction: Fraction = 0.2
    """Share of every client's samples that is held out for it; no method trains on them."""
    clients: Whole = 0
    """Test at most this many clients, drawn once; 0: all."""


class Evaluate(Config):
    """How the global model is tested."""

    max_samples: Whole = 0
    """Use at most this many held-out samples, drawn once; 0: all."""
    batch_samples: Count = 32
    """Samples in a batch."""
    personal: Personal | None = None
    """Test also what every client itself would use, on samples of its own; null: no samples are held out for that."""


F = TypeVar("F", bound=Federated)


def _one_or_several(value: object) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


PhaseKind = Literal["further_pretrain", "finetune"]


class FederatedPhase(NamedTuple):
    """A federated phase and what it is called."""

    name: str
    """In traces, metrics and random streams: `further_pretrain`, `finetune`, or `finetune.LABEL` in a sequence."""
    kind: PhaseKind
    key: Key
    """Its place in the scenario."""
    config: FurtherPretrain | Finetune


class Phases(Config):
    """Any subset of the phases; they run in this order."""

    pretrain: Pretrain | None = None
    """Central pre-training; the same start for every method."""
    further_pretrain: FurtherPretrain | None = None
    """Federated MLM."""
    finetune: (
        Annotated[
            Annotated[Finetune, Tag("one")] | Annotated[tuple[Finetune, ...], Field(min_length=1), Tag("several")],
            Discriminator(_one_or_several),
        ]
        | None
    ) = None
    """Federated fine-tuning: one task, or a list of tasks that are learned one after the other."""
    evaluate: Evaluate | None = Evaluate()
    """Testing on held-out text; null: no quality is measured."""

    @property
    def federated(self) -> tuple[FederatedPhase, ...]:
        """The federated phases in order; where a label comes again in a sequence, its name is numbered."""
        found: list[FederatedPhase] = []
        if self.further_pretrain is not None:
            key: Key = ("phases", "further_pretrain")
            found.append(FederatedPhase("further_pretrain", "further_pretrain", key, self.further_pretrain))
        if isinstance(self.finetune, Finetune):
            found.append(FederatedPhase("finetune", "finetune", ("phases", "finetune"), self.finetune))
        elif self.finetune is not None:
            for index, config in enumerate(self.finetune):
                label, taken = f"finetune.{config.task.label}", {phase.name for phase in found}
                names = (label, *(f"{label}.{number}" for number in range(2, len(taken) + 3)))
                name = next(name for name in names if name not in taken)
                found.append(FederatedPhase(name, "finetune", ("phases", "finetune", index), config))
        return tuple(found)

    def with_changes(self, changes: PhaseChanges) -> "Phases":
        """The phases as a method has them that changes them."""

        def changed(config: F, own: Changes) -> F:
            said = {name: getattr(own, name) for name in Changes.model_fields if getattr(own, name) is not None}
            return config.model_copy(update=said) if said else config

        found: dict[str, object] = {}
        if self.further_pretrain is not None:
            found["further_pretrain"] = changed(self.further_pretrain, changes.further_pretrain)
        if isinstance(self.finetune, Finetune):
            found["finetune"] = changed(self.finetune, changes.finetune)
        elif self.finetune is not None:
            found["finetune"] = tuple(changed(config, changes.finetune) for config in self.finetune)
        return self.model_copy(update=found)

    def problems(self) -> Iterator[Problem]:
        """There is something to do."""
        if self.pretrain is None and self.further_pretrain is None and self.finetune is None:
            yield Problem((), "give at least one of pretrain, further_pretrain, finetune")
