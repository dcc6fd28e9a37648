"""What central pre-training starts from."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from fedsim.data.tokens import Tokens
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import CentralTask, Pretrained, Result, Task
from fedsim.model.layout import FloatArray, layouts
from fedsim.plan import HEAD
from tests import runs

VOCABULARY = 310
"""Of the model; the data has fewer tokens."""


class Recorder(runs.Wrapped):
    """Remembers the published groups, and central pre-training with its result."""

    def __init__(self) -> None:
        super().__init__(InlineEngine())
        self.groups: dict[str, FloatArray] = {}
        self.task: CentralTask | None = None
        self.loss = math.nan

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.groups[name] = values
        self.inner.publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            if isinstance(result, Pretrained):
                (self.task,) = (task for task in tasks if isinstance(task, CentralTask))
                self.loss = result.loss
            yield result


def pretrained(world: Path, folder: Path, **changes: object) -> Recorder:
    """Central pre-training alone, by an optimizer that changes nothing worth mentioning."""
    still = {"kind": "sgd", "learning_rate": 1e-12}
    raw = runs.small(
        {"fedavg": {}},
        phases={"pretrain": {"steps": 5, "optimizer": still}, "evaluate": None},
        model__vocabulary=VOCABULARY,
        **changes,
    )
    recorder = Recorder()
    runs.run(raw, world, folder, lambda: recorder)
    return recorder


def test_a_fresh_mlm_head_knows_how_often_each_token_occurs_in_the_central_text(world: Path, tmp_path: Path) -> None:
    recorder = pretrained(world, tmp_path / "run", seed=1001)
    task = recorder.task
    assert task is not None
    tokens = Tokens.open(task.world.tokens)
    assert tokens.vocabulary < VOCABULARY
    seen = Counter(int(token) for sample in task.samples for token in tokens.ids[int(sample)])
    for special in (tokens.cls, tokens.sep, tokens.pad):
        del seen[special]
    expected = np.array([math.log((seen[i] + 1) / (seen.total() + tokens.vocabulary)) for i in range(VOCABULARY)])

    head = layouts(task.shape.architecture, task.shape.head)[HEAD].split(recorder.groups[task.prefix + HEAD])
    np.testing.assert_allclose(head["bias"], expected, rtol=1e-6)
    # the matrices are random, and small enough for the bias to decide: a uniform guess is far away
    assert float(np.std(head["dense.weight"])) > 0.01
    entropy = -sum(count / seen.total() * expected[token] for token, count in seen.items())
    assert recorder.loss < (entropy + math.log(VOCABULARY)) / 2
