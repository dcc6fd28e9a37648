"""A host stands in for many clients, one block at a time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from fedsim import rng
from fedsim.cost.memory import peak_polynomial
from fedsim.cost.parameters import local_size
from fedsim.data.batches import compose, draws
from fedsim.data.curriculum import Difficulty, select
from fedsim.data.held_out import held_out
from fedsim.data.objective import Examples, NumpyBatch
from fedsim.data.partition import Shards
from fedsim.data.tokens import Tokens
from fedsim.engine.allocator import LARGE_BYTES, keep_freed_memory, return_freed_memory
from fedsim.engine.disk import Disk, private
from fedsim.engine.sabotage import deliveries, prevent, spoil
from fedsim.engine.stacks import Stack, train_stacks
from fedsim.engine.tasks import (
    IMPORTANCE,
    NOT_FINITE,
    BlockSum,
    CentralTask,
    ClientCounts,
    ClientReport,
    ClientWork,
    Counts,
    EvaluateChunk,
    EvaluateClients,
    Measured,
    MeasureTask,
    Pretrained,
    Result,
    Task,
    TrainBlock,
    WorldFiles,
)
from fedsim.engine.together import Together
from fedsim.engine.uplink import Refused, deliver, deliver_together
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import FloatArray
from fedsim.model.local import Batch, LocalModel
from fedsim.model.part import Weights
from fedsim.model.stacked import StackedModel
from fedsim.plan import CONTROL, TEACHER, group, layer
from fedsim.store.client_state import ClientStore
from fedsim.training.control import Control
from fedsim.training.distillation import Taught
from fedsim.training.evaluate import Found, count, count_exits
from fedsim.training.importance import head_importance
from fedsim.training.split import NotFinite
from fedsim.training.tensors import as_batch, to_device
from fedsim.training.update import Update, rate_of, train


@dataclass
class World:
    """A host's view of the data."""

    tokens: Tokens
    shards: Shards
    seed: int
    personal: Shards | None
    difficulty: Difficulty | None


@lru_cache(maxsize=4)
def open_world(files: WorldFiles) -> World:
    """Memory-map the data; opened once a process."""
    personal = None if files.personal is None else Shards.open(files.personal)
    difficulty = None if files.difficulty is None else Difficulty.open(files.difficulty)
    return World(Tokens.open(files.tokens), Shards.open(files.shards), files.seed, personal, difficulty)


class Host:
    """Trains, evaluates and pre-trains; keeps built models by shape and published groups by name."""

    def __init__(self, name: str, device: str = "cpu", precision: str = "float32") -> None:
        self.name = name
        self.device = torch.device(device)
        self.autocast = precision == "bfloat16"
        self._models: dict[tuple[LocalShape, int | None], LocalModel] = {}
        self._groups: dict[str, tuple[int, Tensor]] = {}

    def missing(self, task: Task) -> list[str]:
        """Published names that this host does not hold in the version that the task wants."""
        return [n for n, version in task.groups.items() if self._groups.get(n, (None,))[0] != version]

    def receive(self, name: str, version: int, values: FloatArray) -> None:
        """Take a published group."""
        self._groups[name] = (version, to_device(values, self.device))

    def run(self, task: Task) -> Result:
        """Do the task. Its random numbers come from its names alone, so any host gives the same bits."""
        start = time.perf_counter()
        # dropout draws from torch's global generator: seed it per client, and leave the caller's as it was
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            if isinstance(task, TrainBlock):
                sums, reports = self._train(task)
                importance = sums.pop(IMPORTANCE, None)
                return BlockSum(task.index, time.perf_counter() - start, self.name, sums, reports, importance)
            if isinstance(task, EvaluateChunk):
                (values, confusion), heads = self._evaluate(task)
                return Counts(task.index, time.perf_counter() - start, self.name, values, confusion, heads)
            if isinstance(task, EvaluateClients):
                each = tuple(self._evaluate_clients(task))
                return ClientCounts(task.index, time.perf_counter() - start, self.name, each)
            if isinstance(task, CentralTask):
                groups, loss = self._central(task)
                return Pretrained(task.index, time.perf_counter() - start, self.name, groups, loss)
            if isinstance(task, MeasureTask):
                memory = peak_polynomial(task.shape, task.optimizer)
                return Measured(task.index, time.perf_counter() - start, self.name, memory)
        raise TypeError(f"unknown task {type(task).__name__}")

    def _train(self, task: TrainBlock) -> tuple[dict[str, FloatArray], tuple[ClientReport, ...]]:
        model = self._model(task.shape)
        if task.split is not None and task.split.shared:
            world = open_world(task.world)
            batches, named = partial(self._batches, world, task), self._named(task)
            found, how = Together(task, task.split, model, named, batches, world.seed, self.autocast).run()
            return {name: flat.cpu().numpy().copy() for name, flat in found.items()}, how
        loss_of = self._loss(task, model)
        sums: dict[str, Tensor] = {}
        reports: list[ClientReport] = []
        stacked: dict[int, tuple[Update, Weights]] = {}
        for stack in self._stacks(task) if task.stacked else ():
            if (sent := deliver_together(stack.model, task, stack.works)) is None:
                stacked |= stack.each()
                continue
            for name, total in sent.groups:
                sums[name] = sums[name].add_(total) if name in sums else total
            for work, update in zip(stack.works, stack.updates, strict=True):
                reports.append(ClientReport(work.client, "completed", update.loss, "", sent.bytes))
        taken = {report.client for report in reports}
        for work in task.clients:
            if work.client in taken:
                continue
            loss: float | None = None
            try:
                prevent(work.sabotage)
                update, weights = stacked.get(work.client) or self._client(model, task, work, loss_of)
                loss = update.loss
                spoil(weights, task.private, work.sabotage)
                arrived = deliver(weights, task, work, self._named(task))
                if update.importance is not None and not np.isfinite(update.importance).all():
                    raise Refused(NOT_FINITE)
            except (NotFinite, Refused) as error:
                reports.append(ClientReport(work.client, "rejected", loss, str(error)))
                continue
            except Exception as error:  # a client's failure is the driver's to judge, with its name
                reports.append(ClientReport(work.client, "failed", None, f"{type(error).__name__}: {error}"))
                continue
            importance = update.importance
            others = dict(update.control_changes)
            if importance is not None:
                others[IMPORTANCE] = torch.from_numpy(importance)
            cut = update.traffic.upload_bytes, update.traffic.download_bytes
            length, repeated = arrived.bytes + sum(values.nbytes for values in others.values()), 0
            for _ in range(deliveries(work.sabotage)):
                if work.client in taken:  # a client has one update a round: what comes again is put aside
                    repeated += length
                    continue
                taken.add(work.client)
                for name, flat in chain(arrived.groups, others.items()):
                    share = work.shares[name]
                    if name in sums:
                        sums[name].add_(flat, alpha=share)
                    else:
                        sums[name] = flat * share
            reports.append(ClientReport(work.client, "completed", update.loss, "", length + cut[0], *cut, repeated))
        return {name: total.cpu().numpy() for name, total in sums.items()}, tuple(reports)

    def _client(
        self, model: LocalModel, task: TrainBlock, work: ClientWork, loss_of: Callable[[Batch], Tensor]
    ) -> tuple[Update, Weights]:
        world, named = open_world(task.world), self._named(task)
        disk = Disk.open(ClientStore(task.state_folder), task, work)
        model.load({**named, **disk.private}, work.slots, task.window)
        importance = None
        if task.measured:
            importance = head_importance(model, self._batches(world, task, work), autocast=self.autocast)
        control = Control.of(model, work.slots, named, disk.control) if task.recipe.control else None
        key = (task.phase, task.phase_round, work.client)
        torch.manual_seed(rng.integer(world.seed, "dropout", *key))
        update = train(
            model,
            self._batches(world, task, work),
            task.local.optimizer,
            learning_rate=task.learning_rate,
            clip_norm=task.local.clip_norm,
            state=disk.optimizer,
            autocast=self.autocast,
            recipe=task.recipe,
            corrections=control.corrections if control else (),
            cut=None if task.split is None else task.split.cut,
            loss_of=loss_of,
        )
        if control:
            after = {group(name, work.slots): part.flat for name, part in model.trained.items()}
            rates = {name: rate_of(name, task.local.optimizer, task.learning_rate) for name in after}
            changes = control.changes(named, after, update.steps, rates)
            update = replace(
                update,
                control={name: control.own[name] + change for name, change in changes.items()},
                control_changes={CONTROL + name: change for name, change in changes.items()},
            )
        if task.keep_optimizer or task.private or control:
            disk.write(model, update)
        return update if importance is None else replace(update, importance=importance), model

    def _stacks(self, task: TrainBlock) -> Iterator[Stack]:
        def models(clients: int) -> StackedModel:
            model = self._model(task.shape, clients)
            assert isinstance(model, StackedModel)
            return model

        world = open_world(task.world)
        return train_stacks(task, self._named(task), partial(self._samples, world, task), models)

    def _batches(self, world: World, task: TrainBlock, work: ClientWork) -> Iterator[Batch]:
        return (as_batch(batch, self.device) for batch in self._samples(world, task, work))

    def _samples(self, world: World, task: TrainBlock, work: ClientWork) -> Iterator[NumpyBatch]:
        """The same composition as was priced, as far as it goes; masks come from a stream of their own."""
        return islice(self._all_samples(world, task, work), work.batches)

    def _all_samples(self, world: World, task: TrainBlock, work: ClientWork) -> Iterator[NumpyBatch]:
        examples = Examples(world.tokens, task.objective)
        longest = task.shape.architecture.max_positions
        for shard in work.shards:
            key = (task.phase, task.phase_round, shard)
            samples = world.shards[shard].astype(np.int64)
            samples = select(task.step, samples, examples.lengths(samples), world.difficulty)
            order = rng.stream(world.seed, "batches", *key)
            masks = rng.stream(world.seed, "masks", *key)
            for batch in compose(examples.lengths(samples), task.local, longest, order):
                yield examples.batch(samples[batch], longest, masks)

    def _evaluate(self, task: EvaluateChunk) -> tuple[Found, dict[str, Found]]:
        model = self._model(task.shape)
        model.load(self._named(task), task.slots)
        world, longest = open_world(task.world), task.shape.architecture.max_positions
        examples = Examples(world.tokens, task.objective)
        chunk = held_out(examples, task.samples, task.batch_samples, longest, world.seed)
        batches = (as_batch(batch, self.device) for batch in chunk)
        if not model.shape.exits:
            return count(model, batches), {}
        heads = count_exits(model, batches)
        return heads[f"depth_{model.shape.depth}"], heads

    def _evaluate_clients(self, task: EvaluateClients) -> Iterator[dict[str, float]]:
        model, groups, store = self._model(task.shape), self._named(task), ClientStore(task.state_folder)
        versions = {name.removeprefix(task.prefix): version for name, version in task.groups.items()}
        world, longest = open_world(task.world), task.shape.architecture.max_positions
        assert world.personal is not None
        examples, loaded = Examples(world.tokens, task.objective), False
        for client, state_round in task.clients:
            own = private(store.read(client, state_round) or {}, versions)
            if own or not loaded:
                model.load({**groups, **own}, task.slots)
                loaded = not own
            samples = world.personal[client].astype(np.int64)
            batches = held_out(examples, samples, task.batch_samples, longest, world.seed)
            yield count(model, (as_batch(batch, self.device) for batch in batches))[0]

    def _central(self, task: CentralTask) -> tuple[dict[str, FloatArray], float]:
        world, config = open_world(task.world), task.config
        model, longest = self._model(task.shape), task.shape.architecture.max_positions
        model.load(self._named(task), tuple(range(task.shape.depth)))
        examples = Examples(world.tokens, task.objective)
        draw, masks = (rng.stream(world.seed, task.purpose, what) for what in ("batches", "masks"))
        torch.manual_seed(rng.integer(world.seed, "dropout", task.purpose))

        def batches() -> Iterator[Batch]:
            for chosen in draws(task.samples, config.steps, config.batch_samples, draw):
                yield as_batch(examples.batch(chosen, longest, masks), self.device)

        warm, steps = config.warmup_steps, config.steps
        factors = [(s + 1) / warm if s < warm else (steps - s) / max(steps - warm, 1) for s in range(steps)]
        update = train(
            model,
            batches(),
            config.optimizer,
            learning_rate=config.optimizer.learning_rate,
            clip_norm=config.clip_norm,
            autocast=self.autocast,
            schedule=factors,
            loss_of=self._loss(task, model),
        )
        trained = {_group(name): part.flat.cpu().numpy().copy() for name, part in model.parts.items()}
        return trained, update.loss

    def _loss(self, task: Task, model: LocalModel) -> Callable[[Batch], Tensor]:
        """A student's loss takes its teacher, which is among the task's groups."""
        if task.shape.teacher is None:
            return model.loss
        teacher = self._model(task.shape.teacher)
        teacher.load(teacher.unpack(self._named(task)[TEACHER]), tuple(range(task.shape.teacher.depth)))
        return Taught(model, teacher).loss

    def _model(self, shape: LocalShape, clients: int | None = None) -> LocalModel:
        key, large = (shape, clients), local_size(shape).bytes > LARGE_BYTES
        (return_freed_memory if large else keep_freed_memory)()
        if key not in self._models:
            # a method moves on to new shapes and seldom comes back; a large model is built anew rather than kept
            while len(self._models) >= (1 if large else 6):
                self._models.pop(next(iter(self._models)))
            build = LocalModel(shape, self.device) if clients is None else StackedModel(shape, clients, self.device)
            self._models[key] = build
        return self._models[key]

    def _named(self, task: Task) -> dict[str, Tensor]:
        return {name.removeprefix(task.prefix): self._groups[name][1] for name in task.groups}


def _group(part: str | int) -> str:
    return layer(part) if isinstance(part, int) else part
