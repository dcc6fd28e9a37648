"""Measuring the training that a scenario asks of its clients, on the machine that fedsim runs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedsim.calibration.measurement import Measurement, step_flops
from fedsim.cost.flops import flops
from fedsim.cost.memory import peak_polynomial
from fedsim.data.batches import mask_counts
from fedsim.errors import UserError, choose
from fedsim.model.architecture import LocalShape
from fedsim.observe.observer import Observer
from fedsim.phases import Phase, Prepared, prepare
from fedsim.plan import Plan
from fedsim.scenario.data import DeclaredCorpus
from fedsim.scenario.schema import Scenario
from fedsim.world import build


@dataclass(frozen=True)
class Asked:
    """Which of a scenario's plans, on which batches; None: see each."""

    method: str | None = None
    """None: the first."""
    phase: str | None = None
    """None: the first."""
    stage: int | None = None
    """None: that with the plan of the most FLOPs a token."""
    samples: int | None = None
    """In a batch; None: as the phase has it."""
    tokens: int | None = None
    """In a sample; None: the most that the data has."""


@dataclass(frozen=True)
class Chosen:
    """One plan, and the batches to train it on."""

    name: str
    """Method, phase and stage, in words."""
    phase: Phase
    shape: LocalShape
    samples: int
    tokens: int

    @property
    def positions(self) -> int:
        """Where the head is evaluated, in a batch."""
        if self.shape.head.per_sample:
            return self.samples
        objective = self.phase.trained
        if not objective.masked_positions:
            return self.samples * self.tokens
        return self.samples * int(mask_counts(np.array([self.tokens]), objective.mask_fraction)[0])


def choose_plan(scenario: Scenario, base: Path, asked: Asked, observer: Observer) -> Chosen:
    """Resolve what is to be measured.

    Args:
        scenario: Whose methods.
        base: Folder that its paths are relative to.
        asked: Which plan.
        observer: Told about progress.

    Raises:
        UserError: There is no such method, phase or stage; or its clients do not train by themselves.
    """
    name = asked.method or next(iter(scenario.methods))
    if name not in scenario.methods:
        raise UserError(f"there is no method '{name}'; {choose(name, scenario.methods)}", key="--method")
    with TemporaryDirectory() as folder, observer.task("preparing the data", None):
        prepared = prepare(build(scenario, base, Path(folder), observer), name)
    phases = {phase.name: phase for phase in prepared.phases}
    if not phases:
        raise UserError("the scenario has no federated phase, and so no client that trains", key="phases")
    label = asked.phase or next(iter(phases))
    if label not in phases:
        raise UserError(f"there is no phase '{label}'; {choose(label, phases)}", key="--phase")
    phase = phases[label]
    index, shape = _costliest(prepared, phase, asked.stage)
    samples = asked.samples or phase.config.local.batch_samples
    corpus = scenario.data.corpus
    tokens = asked.tokens or (corpus.tokens if isinstance(corpus, DeclaredCorpus) else scenario.data.max_tokens)
    longest = shape.architecture.max_positions
    if not 3 <= tokens <= longest:
        raise UserError(f"is {tokens}, the model takes 3 to {longest}", key="--tokens")
    return Chosen(f"{name}, {label}, stage {index}", phase, shape, samples, tokens)


def _costliest(item: Prepared, phase: Phase, stage: int | None) -> tuple[int, LocalShape]:
    """The plan of the most FLOPs a token, and its stage."""
    if stage is not None and not 0 <= stage < len(phase.stages):
        raise UserError(f"is {stage}, the phase has stages 0 to {len(phase.stages) - 1}", key="--stage")
    stages = range(len(phase.stages)) if stage is None else [stage]
    plans: Sequence[tuple[int, Plan]] = [(i, plan) for i in stages for plan in phase.stages[i].plans]
    if any(plan.split is not None for _, plan in plans):
        fault = f"{item.name} splits the model: its clients train nothing by themselves; take another method"
        raise UserError(fault, key="--method")
    shapes = [(i, LocalShape.of(item.architecture, phase.goal(phase.stages[i]).head, plan)) for i, plan in plans]
    return max(shapes, key=lambda found: flops(found[1]).forward.token + flops(found[1]).backward.token)


def measure(chosen: Chosen, seconds: float, device: str, observer: Observer) -> Measurement:
    """Train the plan's local model, as a client does, on random tokens and from random weights.

    Args:
        chosen: What to train.
        seconds: For how long, after a first step.
        device: `cpu` or `cuda`.
        observer: Told about progress.

    Raises:
        UserError: There is no such device.
    """
    import torch

    from fedsim.fleet.measure_device import available_bytes, machine, peak_bytes
    from fedsim.training.distillation import Taught
    from fedsim.training.timing import filled, random_batch, timed

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("this PyTorch finds no GPU", key="--device")
    config, shape = chosen.phase.config.local, chosen.shape
    free, own = available_bytes(device), torch.device(device)
    torch.manual_seed(0)
    model, teacher = filled(shape, own), None if shape.teacher is None else filled(shape.teacher, own)
    learner = model if teacher is None else Taught(model, teacher)
    size = (chosen.samples, chosen.tokens, chosen.positions)
    with observer.task(f"training for {seconds:g} s: {chosen.name}", None):
        batch = random_batch(model, *size)
        forward_s, backward_s = timed(learner, model, batch, config.optimizer, config.clip_norm, seconds)
    forward, backward = step_flops(shape, *size)
    parts = f"{chosen.name}: {shape.depth} layers, {shape.architecture.hidden} wide"
    return Measurement(
        trained=f"{parts}, {config.optimizer.kind}, batches of {chosen.samples} x {chosen.tokens} tokens",
        machine=machine(device),
        flops_forward=forward,
        flops_backward=backward,
        forward_s=forward_s,
        backward_s=backward_s,
        available_bytes=free,
        peak_bytes=peak_bytes(device),
        priced_bytes=int(peak_polynomial(shape, config.optimizer).at(np.array([size], np.int64))[0]),
    )
