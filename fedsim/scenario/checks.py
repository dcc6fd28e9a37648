"""What must hold between the sections of a scenario."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedsim.methods.registry import kinds
from fedsim.scenario.base import Key, Problem
from fedsim.scenario.data import Data, DeclaredCorpus, QuantityPartition, RepeatedPartition
from fedsim.scenario.model import Model
from fedsim.scenario.phases import FederatedPhase, Finetune, Task

if TYPE_CHECKING:
    from fedsim.methods.base import Method
    from fedsim.scenario.schema import Scenario


def disagreements(scenario: "Scenario") -> Iterator[Problem]:
    """Every pair of settings that cannot both be meant."""
    yield from _participation(scenario)
    yield from _lists_of_clients(scenario)
    yield from _task(scenario)
    yield from _central_text(scenario)
    yield from _personal(scenario)
    yield from _curriculum(scenario)
    yield from _faults(scenario)
    for key, model in _models(scenario):
        yield from _model(scenario, key, model)
    for name, method in scenario.methods.items():
        if not method.decoders and any(model.decodes for model in method.models(scenario.model)):
            others = ", ".join(kind for kind, other in kinds().items() if other.decoders)
            fault = f"trains encoders alone, and the model has a decoder (family: bart): take one of {others}"
            yield Problem(("methods", name), fault)
            continue
        yield from _changes(scenario, name, method)
        phases = method.schedule(scenario.phases)
        for problem in method.world_problems(scenario):
            yield Problem(("methods", name, *problem.key), problem.message)
        model = method.model or scenario.model
        if model.checkpoint is None:
            layers, decoder_layers = model.depth
            depth, width = method.depth_problems(layers), method.width_problems(model.heads, model.feed_forward)
            for problem in (*depth, *width, *method.schedule_problems(phases, layers, decoder_layers)):
                yield Problem(("methods", name, *problem.key), problem.message)
        for phase in phases.federated:
            yield from _overlapping(phase, name, method)
        for problem in method.phase_problems(phases):
            yield Problem(("methods", name, *problem.key), problem.message)


def _models(scenario: "Scenario") -> Iterator[tuple[Key, Model]]:
    yield ("model",), scenario.model
    for name, method in scenario.methods.items():
        if method.model is not None:
            yield ("methods", name, "model"), method.model


def _changes(scenario: "Scenario", name: str, method: "Method") -> Iterator[Problem]:
    """A phase that a method has in its own way is sound as well."""
    known = {phase.kind for phase in scenario.phases.federated}
    for kind in ("further_pretrain", "finetune"):
        if method.phases.changed(kind) and kind not in known:
            yield Problem(("methods", name, "phases", kind), f"changes a phase that is not there: phases.{kind}")
    for before, phase in zip(scenario.phases.federated, method.schedule(scenario.phases).federated, strict=True):
        if phase.config is not before.config:
            for problem in phase.config.problems():
                yield Problem(("methods", name, "phases", phase.kind, *problem.key), problem.message)


def _participation(scenario: "Scenario") -> Iterator[Problem]:
    clients = scenario.fleet.clients
    for key, part in scenario.participations():
        if part.cohort_clients > clients:
            yield Problem(
                (*key, "clients_per_round"),
                f"{part.clients_per_round} clients with over_selection {part.over_selection:g} is a cohort of "
                f"{part.cohort_clients}, fleet.clients is {clients}",
            )
        elif part.most_clients > clients:
            name = "tiers" if part.policy.kind == "tiered" else "concurrency"
            yield Problem(
                (*key, "policy", name), f"asks for {part.most_clients} clients at a time, fleet.clients is {clients}"
            )
        for index, cohort in enumerate(part.cohorts or ()):
            if cohort and max(cohort) >= clients:
                yield Problem(
                    (*key, "cohorts", index), f"names client {max(cohort)}, the fleet's clients are 0 to {clients - 1}"
                )
        if scenario.fleet.server_link is not None:
            if part.policy.kind != "synchronous":
                fault = f"is {part.policy.kind}: remove fleet.server_link, which goes with policy: synchronous"
                yield Problem((*key, "policy"), fault)
            if part.late == "partial":
                fault = "is partial: remove fleet.server_link, where trips wait for each other"
                yield Problem((*key, "late"), fault)


def _overlapping(phase: FederatedPhase, name: str, method: "Method") -> Iterator[Problem]:
    """Under some policies an update may be older than the model that it meets."""
    policy = phase.config.participation.policy
    if policy.kind != "synchronous" and not method.pooled and (reason := method.synchronous()):
        yield Problem((*phase.key, "participation", "policy"), f"is {policy.kind}, but methods.{name} {reason}")


def _lists_of_clients(scenario: "Scenario") -> Iterator[Problem]:
    clients, data = scenario.fleet.clients, scenario.data
    lists: dict[Key, tuple[float, ...] | None] = {}
    if isinstance(data.partition, QuantityPartition):
        lists["data", "partition", "shares"] = data.partition.shares
    if isinstance(data.corpus, DeclaredCorpus) and isinstance(data.corpus.samples_per_client, tuple):
        lists["data", "corpus", "samples_per_client"] = data.corpus.samples_per_client
    for key, entries in lists.items():
        if entries is not None and len(entries) != clients:
            yield Problem(key, f"lists {len(entries)} clients, fleet.clients is {clients}")


def _task(scenario: "Scenario") -> Iterator[Problem]:
    for phase in scenario.phases.federated:
        if isinstance(phase.config, Finetune):
            yield from _label(scenario.data, phase.config.task, (*phase.key, "task", "label"))


def _label(data: Data, task: Task, key: Key) -> Iterator[Problem]:
    labels = data.sequence_labels if task.kind == "sequence" else data.token_labels
    if labels is None or task.label in labels:
        return
    if labels:
        remedy = f"allowed: {', '.join(labels)}"
    elif data.corpus.kind == "files":
        remedy = f"this corpus has none: set data.corpus.{'labels' if task.kind == 'sequence' else 'tags'}"
    elif task.kind == "sequence":
        remedy = "this corpus has none: set data.corpus.labels"
    else:
        remedy = "a hub corpus has none: use .conll files (data.corpus.kind: files)"
    kind = "label" if task.kind == "sequence" else "tags"
    yield Problem(key, f"the corpus has no {kind} '{task.label}' for kind: {task.kind}; {remedy}")


def _central_text(scenario: "Scenario") -> Iterator[Problem]:
    if scenario.phases.pretrain is None:
        return
    if isinstance(scenario.data.corpus, DeclaredCorpus):
        yield Problem(("phases", "pretrain"), "declared data has no text to pre-train on: remove this phase")
    elif scenario.data.central_fraction == 0.0:
        yield Problem(
            ("phases", "pretrain"), "has no text to train on: give data.central_fraction a value between 0 and 1"
        )


def _personal(scenario: "Scenario") -> Iterator[Problem]:
    evaluate, key = scenario.phases.evaluate, ("phases", "evaluate", "personal")
    if evaluate is None or evaluate.personal is None:
        return
    if isinstance(scenario.data.corpus, DeclaredCorpus):
        yield Problem(key, "declared data has no samples to test on: remove this section")
    elif isinstance(scenario.data.partition, RepeatedPartition):
        yield Problem(key, "clients share samples (data.partition), so that one trains on what another is tested on")


def _faults(scenario: "Scenario") -> Iterator[Problem]:
    clients, rounds = scenario.fleet.clients, sum(phase.config.rounds for phase in scenario.phases.federated)
    for index, fault in enumerate(scenario.faults):
        if fault.clients is not None and max(fault.clients) >= clients:
            found = f"names client {max(fault.clients)}, the fleet's clients are 0 to {clients - 1}"
            yield Problem(("faults", index, "clients"), found)
        if fault.rounds is not None and fault.rounds[0] >= rounds:
            begin = f"begin with {fault.rounds[0]}, a method's rounds are 0 to {rounds - 1}"
            yield Problem(("faults", index, "rounds"), begin)
    for name, method in scenario.methods.items():
        if scenario.faults and (reason := method.inseparable()):
            yield Problem(("faults",), f"cannot be taken out of what methods.{name} trains, which {reason}")


def _curriculum(scenario: "Scenario") -> Iterator[Problem]:
    corpus = scenario.data.corpus
    if not isinstance(corpus, DeclaredCorpus):
        return
    for phase in scenario.phases.federated:
        for index, step in enumerate(phase.config.curriculum or ()):
            if step.max_tokens is not None and step.max_tokens < corpus.tokens:
                key = (*phase.key, "curriculum", index, "max_tokens")
                yield Problem(key, f"is {step.max_tokens}, every declared sample has {corpus.tokens} tokens")


def _model(scenario: "Scenario", key: Key, model: Model) -> Iterator[Problem]:
    data = scenario.data
    if model.checkpoint is not None:
        if data.has_text and data.tokenizer.kind != "checkpoint":
            yield Problem(
                (*key, "checkpoint"),
                "its weights know only its own tokenizer: set data.tokenizer to {kind: checkpoint, checkpoint: ...}",
            )
        return
    if data.max_tokens > model.max_positions:
        yield Problem(
            (*key, "max_positions"), f"is {model.max_positions}, less than data.max_tokens ({data.max_tokens})"
        )
    if isinstance(data.corpus, DeclaredCorpus) and model.vocabulary is None:
        yield Problem((*key, "vocabulary"), "is required with declared data, which has no tokenizer to take it from")
    trained = data.has_text and data.tokenizer.kind != "checkpoint"
    if trained and model.vocabulary is not None and model.vocabulary < data.tokenizer.vocabulary:
        yield Problem(
            (*key, "vocabulary"),
            f"is {model.vocabulary}, less than data.tokenizer.vocabulary ({data.tokenizer.vocabulary})",
        )
