"""Testing the global model on held-out samples, spread over the hosts."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from fedsim.data.held_out import chunks, majority_accuracy, select, unigram_loss
from fedsim.data.objective import Examples, Objective
from fedsim.data.work import IntArray
from fedsim.engine.base import Engine
from fedsim.engine.tasks import Counts, EvaluateChunk
from fedsim.errors import FedsimError, UserError
from fedsim.model.architecture import Architecture, LocalShape
from fedsim.personal import PersonalEvaluator
from fedsim.phases import Goal
from fedsim.scenario.phases import Evaluate
from fedsim.training.metrics import metrics
from fedsim.world import World


class Evaluator:
    """Evaluates any method's model in the world; baselines that need no model are worked out once."""

    def __init__(self, world: World, config: Evaluate, engine: Engine) -> None:
        self.world, self.config, self.engine = world, config, engine
        self.personal = PersonalEvaluator(world, config, engine) if config.personal is not None else None
        self.busy_s = 0.0
        self._baselines: dict[tuple[Objective, int], dict[str, float]] = {}

    def check(self, goals: Iterable[Goal]) -> None:
        """Make sure that every goal can be tested.

        Raises:
            UserError: nothing is held out.
        """
        for goal in goals:
            self._samples(goal)

    @cached_property
    def _train(self) -> IntArray:
        """What some client trains on, each sample once, however many clients share it."""
        assert self.world.shards is not None
        assert self.world.tokens is not None
        trained = np.zeros(len(self.world.tokens.ids), np.bool_)
        trained[self.world.shards.indices] = True
        return np.flatnonzero(trained)

    def evaluate(
        self, method: str, goal: Goal, architecture: Architecture, versions: Mapping[str, int]
    ) -> tuple[dict[str, float], int]:
        """Metrics and baselines by name, and the number of samples.

        Raises:
            FedsimError: the global model gives no finite loss.
        """
        assert self.world.tokens is not None
        assert self.world.files is not None
        samples = self._samples(goal)
        local = architecture.local(goal.slots)
        shape = LocalShape(local, goal.head, len(goal.slots), exits=goal.exits, adapters=goal.adapters)
        tasks = [
            EvaluateChunk(
                index=i,
                cost=float(self.world.tokens.ids.lengths[chunk].sum()),
                shape=shape,
                prefix=f"{method}/",
                groups=versions,
                world=self.world.files,
                objective=goal.objective,
                slots=goal.slots,
                samples=chunk,
                batch_samples=self.config.batch_samples,
            )
            for i, chunk in enumerate(chunks(samples))
        ]
        results = sorted(self.engine.run(tasks, f"{method}/{goal.name}/evaluate"), key=lambda result: result.index)
        self.busy_s += sum(result.seconds for result in results)
        counts = [result for result in results if isinstance(result, Counts)]
        totals, confusion = _summed([(part.values, part.confusion) for part in counts])
        if not np.isfinite(totals["loss"]):
            raise FedsimError(f"{method}: the loss of the global model on held-out samples is {totals['loss']}")
        found = metrics(goal.objective.kind, totals, confusion)
        for head in counts[0].heads:
            own = metrics(goal.objective.kind, *_summed([part.heads[head] for part in counts]))
            found |= {f"{head}/{name}": value for name, value in own.items()}
        return found | self._baseline(goal.objective, samples, architecture.max_positions), len(samples)

    def _samples(self, goal: Goal) -> IntArray:
        assert self.world.tokens is not None
        label = goal.objective.label
        samples = select(self.world.tokens, label, self.config.max_samples, self.world.scenario.seed)
        if not len(samples):
            what = f" with a label '{label}'" if label else ""
            raise UserError(f"no held-out samples{what} to evaluate on: give a test split", key="data.corpus")
        return samples

    def _baseline(self, objective: Objective, samples: IntArray, longest: int) -> dict[str, float]:
        key = (objective, longest)
        if key not in self._baselines:
            tokens = self.world.tokens
            assert tokens is not None
            found: dict[str, float] = {}
            if objective.kind == "mlm":
                seed, batch = self.world.scenario.seed, self.config.batch_samples
                examples = Examples(tokens, objective)
                found["unigram_loss"] = unigram_loss(examples, self._train, samples, batch, longest, seed)
            elif objective.kind == "sequence":
                labels = tokens.labels[objective.label].astype(np.int64)
                found["majority_accuracy"] = majority_accuracy(labels, self._train, samples)
            self._baselines[key] = found
        return self._baselines[key]


def _summed(parts: Sequence[tuple[Mapping[str, float], IntArray | None]]) -> tuple[dict[str, float], IntArray | None]:
    """Sums of the chunks' sums, in their order."""
    totals: dict[str, float] = {}
    confusion: IntArray | None = None
    for values, matrix in parts:
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + value
        if matrix is not None:
            confusion = matrix if confusion is None else confusion + matrix
    return totals, confusion
