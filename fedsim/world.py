"""The world that all methods of a scenario share: samples, who has them, and on which device."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fedsim import faults, rng
from fedsim.data import files
from fedsim.data.curriculum import Difficulty, select
from fedsim.data.curriculum import prepare as prepare_difficulty
from fedsim.data.objective import DeclaredExamples, Examples, Objective
from fedsim.data.partition import partition
from fedsim.data.personal import hold_out
from fedsim.data.shards import Shards
from fedsim.data.tokens import Tokens, prepare
from fedsim.data.work import IntArray
from fedsim.engine.tasks import WorldFiles
from fedsim.errors import UserError, choose
from fedsim.fleet.devices import Fleet
from fedsim.fleet.devices import build as build_fleet
from fedsim.fleet.presence import EVER, Presence
from fedsim.fleet.presence import build as build_presence
from fedsim.model.architecture import Architecture, Decoder, Head
from fedsim.model.pretrained import find, read_architecture
from fedsim.observe.observer import Observer
from fedsim.scenario.base import dotted
from fedsim.scenario.corpus import Spread
from fedsim.scenario.data import DeclaredCorpus, FileCorpus
from fedsim.scenario.model import Model
from fedsim.scenario.phases import CurriculumStep, Finetune, FurtherPretrain
from fedsim.scenario.schema import Scenario


def cache_folder() -> Path:
    """Where corpora, tokens and pre-trained models are kept: $FEDSIM_CACHE, or fedsim in the user's cache folder."""
    own = os.environ.get("FEDSIM_CACHE")
    return Path(own).absolute() if own else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fedsim"


@dataclass(frozen=True)
class World:
    """Samples, shards and devices. `tokens` and `shards` are None for declared data."""

    scenario: Scenario
    base: Path
    fleet: Fleet
    tokens: Tokens | None
    shards: Shards | None
    central: IntArray
    """Training samples that belong to nobody."""
    files: WorldFiles | None
    personal: Shards | None = None
    """Held out for every client's own test."""
    presence: Presence = EVER
    """When devices are there."""
    difficulty: Difficulty | None = None
    """None: no curriculum asks how rare words are."""

    def sizes(self) -> IntArray:
        """Samples of every client, [clients]."""
        if self.shards is not None:
            return self.shards.sizes
        return self._declared

    @cached_property
    def _declared(self) -> IntArray:
        """Samples of every client of declared data, [clients]."""
        corpus, clients = self.scenario.data.corpus, self.scenario.fleet.clients
        assert isinstance(corpus, DeclaredCorpus)
        sizes = corpus.samples_per_client
        if not isinstance(sizes, Spread):
            return np.broadcast_to(np.asarray(sizes, np.int64), clients)
        numbers = rng.stream(self.scenario.seed, "declared").standard_normal(clients)
        drawn = np.floor(sizes.median * np.exp(sizes.sigma * numbers) + 0.5)
        return np.clip(drawn, 1, sizes.most).astype(np.int64)

    def samples(self, client: int, step: CurriculumStep | None = None) -> IntArray:
        """The client's samples that count; for declared data, as many numbers as it has samples."""
        if self.shards is None or self.tokens is None:
            return self.alike(int(self.sizes()[client]), step)
        samples = self.shards[client].astype(np.int64)
        offsets = self.tokens.ids.offsets
        return select(step, samples, offsets[samples + 1] - offsets[samples], self.difficulty)

    def alike(self, size: int, step: CurriculumStep | None) -> IntArray:
        """As `samples`, of any client that has so many samples of declared data."""
        corpus, samples = self.scenario.data.corpus, np.arange(size)
        assert isinstance(corpus, DeclaredCorpus)
        return select(step, samples, np.full(size, corpus.tokens), None)

    def examples(self, objective: Objective) -> Examples | DeclaredExamples:
        """Samples as an objective sees them."""
        if self.tokens is not None:
            return Examples(self.tokens, objective)
        corpus = self.scenario.data.corpus
        assert isinstance(corpus, DeclaredCorpus)
        return DeclaredExamples(corpus.tokens, objective)

    def architecture(self, model: Model, key: str) -> Architecture:
        """Sizes of a model, from its numbers or its checkpoint."""
        if model.checkpoint is not None:
            found = read_architecture(find(model.checkpoint, self.base, f"{key}.checkpoint"), f"{key}.checkpoint")
            if model.decodes != (found.decoder is not None):
                raise UserError(
                    f"is {model.family}, the checkpoint says {found.family}: set it to that", key=f"{key}.family"
                )
            architecture = found
            if "dropout" in model.model_fields_set:
                architecture = Architecture(**{**vars(found), "dropout": model.dropout})
        else:
            vocabulary = model.vocabulary or (self.tokens.vocabulary if self.tokens else 0)
            sizes = model.model_dump(
                include={"family", "hidden", "layers", "heads", "feed_forward", "max_positions", "dropout"}
            )
            sizes["layers"], decoder_layers = model.depth
            decoder = self._decoder(decoder_layers) if decoder_layers else None
            architecture = Architecture(vocabulary=vocabulary, **sizes, decoder=decoder)
        if self.tokens is not None and architecture.vocabulary < self.tokens.vocabulary:
            raise UserError(
                f"the model knows {architecture.vocabulary} tokens, the data has {self.tokens.vocabulary}", key=key
            )
        end, decoder = -1 if self.tokens is None else self.tokens.sep, architecture.decoder
        if decoder is not None and end >= 0 and end != decoder.start:
            raise UserError(
                f"the model's decoder begins with token {decoder.start}, the data's samples end with token {end}: they "
                "must be the same one",
                key=key,
            )
        longest = self.scenario.data.max_tokens
        if architecture.max_positions < longest:
            raise UserError(
                f"the model takes {architecture.max_positions} tokens, data.max_tokens is {longest}", key=key
            )
        return architecture

    def _decoder(self, layers: int) -> Decoder:
        """A decoder for this world's tokens; without text nobody asks which they are."""
        if self.tokens is None:
            return Decoder(layers)
        if self.tokens.sep < 0:
            raise UserError(
                "tokenised data names no token that samples end with, which a decoder has to begin with: take text, or "
                "a model from a checkpoint",
                key="data",
            )
        return Decoder(layers, self.tokens.sep, max(self.tokens.pad, 0))

    @property
    def width(self) -> int:
        """Tokens that every batch is padded to; 0: to its longest sample."""
        return self.scenario.data.max_tokens if self.scenario.data.padding == "max" else 0

    def mlm_objective(self, model: Model) -> Objective:
        """Masked-language modelling as further pre-training does it, or would with its defaults."""
        phase = self.scenario.phases.further_pretrain
        fraction = FurtherPretrain.model_fields["mask_fraction"].default if phase is None else phase.mask_fraction
        everywhere = model.mlm_positions == "all"
        return Objective("mlm", "", fraction, everywhere, self.width, whole=model.decodes and everywhere)

    def mlm_head(self, model: Model) -> Head:
        """The head of masked-language modelling."""
        return Head("mlm", everywhere=model.everywhere)

    def objective(self, phase: FurtherPretrain | Finetune, model: Model) -> Objective:
        """What a phase learns."""
        if isinstance(phase, FurtherPretrain):
            return self.mlm_objective(model)
        return Objective(phase.task.kind, phase.task.label, width=self.width)

    def head(self, objective: Objective, model: Model, key: str) -> Head:
        """The head that an objective needs; `key` is the place of its phase in the scenario.

        Raises:
            UserError: the data has no such label.
        """
        if objective.kind == "mlm":
            if self.tokens is not None and self.tokens.targets is None and self.tokens.mask < 0:
                raise UserError(
                    "tokenised data without `labels` cannot be masked: it names no [MASK] token", key="data"
                )
            return self.mlm_head(model)
        kind, everywhere = "tokens" if objective.kind == "tokens" else model.classifier, model.everywhere
        if self.tokens is None:
            corpus = self.scenario.data.corpus
            assert isinstance(corpus, DeclaredCorpus)
            return Head(kind, corpus.classes, everywhere)
        names = self.tokens.tag_names if objective.kind == "tokens" else self.tokens.label_names
        if objective.label not in names:
            raise UserError(
                f"the data has no {objective.kind} label '{objective.label}'; {choose(objective.label, names)}",
                key=f"{key}.task.label",
            )
        return Head(kind, len(names[objective.label]), everywhere)


def check(scenario: Scenario, base: Path) -> None:
    """What can be known in a moment, for mistakes to be told before an engine starts, which takes seconds.

    Raises:
        UserError: a file that the scenario names is not there, the fleet cannot be used, or nothing can be cached.
    """
    _devices(scenario, base)
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fault = f"the cache folder cannot be made ({error.strerror}): name another one"
        raise UserError(fault, file=cache, key="$FEDSIM_CACHE") from None
    if not os.access(cache, os.W_OK | os.X_OK):
        raise UserError("the cache folder cannot be written to: name another one", file=cache, key="$FEDSIM_CACHE")
    if isinstance(scenario.data.corpus, FileCorpus):
        files.check(scenario.data.corpus, base)


def build(scenario: Scenario, base: Path, folder: Path, observer: Observer) -> World:
    """Prepare tokens (cached), deal samples to clients and draw the fleet.

    Args:
        scenario: what to build.
        base: folder that the scenario's paths are relative to.
        folder: where this run keeps its shards.
        observer: told about progress.
    """
    fleet, presence = _devices(scenario, base)
    for note in presence.notes:
        observer.note(note)
    if isinstance(scenario.data.corpus, DeclaredCorpus):
        return World(scenario, base, fleet, None, None, np.zeros(0, np.int64), None, presence=presence)
    cache = cache_folder()
    prepared = prepare(scenario.data, base, cache, observer)
    tokens = Tokens.open(prepared)
    train: IntArray = np.flatnonzero(~tokens.test)
    central = np.zeros(0, np.int64)
    if scenario.data.central_fraction:
        mixed = rng.stream(scenario.seed, "central").permutation(train)
        cut = round(len(train) * scenario.data.central_fraction)
        central, train = np.sort(mixed[:cut]), np.sort(mixed[cut:])
    shards = partition(
        scenario.data.partition,
        samples=train,
        client=tokens.client,
        clients=tokens.clients,
        labels=tokens.labels,
        n_clients=scenario.fleet.clients,
        max_samples=scenario.data.max_samples_per_client,
        seed=scenario.seed,
    )
    evaluate, personal = scenario.phases.evaluate, None
    if evaluate is not None and evaluate.personal is not None:
        shards, personal = hold_out(shards, evaluate.personal.fraction, scenario.seed)
        personal.save(folder / "personal")
    shards.save(folder / "shards")
    steps = [step for phase in scenario.phases.federated for step in phase.config.curriculum or ()]
    rare = prepare_difficulty(tokens, cache) if any(step.frequent_words is not None for step in steps) else None
    there = folder.absolute()  # a host may work in another folder
    own = None if personal is None else there / "personal"
    where = WorldFiles(prepared, there / "shards", scenario.seed, own, rare)
    sizes = shards.sizes
    observer.note(
        f"{len(tokens.ids):,} samples, {tokens.vocabulary:,} tokens known; {len(shards):,} clients with "
        f"{sizes.min()} to {sizes.max()} samples (median {int(np.median(sizes))}); {len(central):,} kept central"
    )
    if personal is not None:
        observer.note(f"{len(personal.indices):,} samples held out for tests of the clients' own")
    difficulty = None if rare is None else Difficulty.open(rare)
    return World(scenario, base, fleet, tokens, shards, central, where, personal, presence, difficulty)


def _devices(scenario: Scenario, base: Path) -> tuple[Fleet, Presence]:
    """The devices, and when they are there.

    Raises:
        UserError: The fleet cannot be used, or more are asked for than can ever be there.
    """
    fleet = build_fleet(scenario.fleet, base, scenario.seed)
    faults.check(scenario.faults, fleet)
    presence = build_presence(scenario.fleet, fleet, base, scenario.seed)
    for key, part in scenario.participations():
        wanted = part.clients_per_round
        if part.cohorts is None and (ever := presence.ever(len(fleet), wanted)) < wanted:
            fault = f"is {wanted}, but fleet.availability never lets more than {ever} devices take part"
            raise UserError(fault, key=dotted((*key, "clients_per_round")))
    return fleet, presence
