"""A very small world for end-to-end tests, and a way to run it in this process."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest

from fedsim import rng
from fedsim.cost.memory import Polynomial
from fedsim.engine.base import Engine
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import Measured, Result, Task, TrainBlock
from fedsim.known_memory import Wanted
from fedsim.model.architecture import LocalShape
from fedsim.model.layout import FloatArray
from fedsim.observe.observer import Observer, Silent
from fedsim.scenario.phases import Optimizer
from fedsim.scenario.schema import Scenario
from fedsim.simulation import Request, resumed, simulate

CLIENTS = 8
TEXT = (
    "the of and to in is it on at by as or an river mountain forest valley ocean desert summer winter quiet bright "
    "engine signal packet kernel buffer thread memory server client update"
)
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "kept": {"kind": "fedavg", "optimizer_state": "keep", "weighting": "uniform"},
    "fedbt": {},
    "everything": {
        "kind": "fedbt",
        "further_pretrain": {"train": "all"},
        "finetune": {"train": "all", "local_layers": 3},
        "optimizer_state": "keep",
    },
    "averaged": {
        "kind": "fedbt",
        "further_pretrain": {"mapping": "averaged", "local_layers": 3},
        "finetune": {"local_layers": 3, "cycle": 2, "grow": False},
    },
    "needed": {"kind": "fedbt", "pool": "needed", "finetune": {"local_layers": 2}},
    "split": {
        "kind": "fedsplitbert",
        "global_layers": [0, 2],
        "embeddings": "local",
        "optimizer_state": "keep",
        "upload": {"bits": 8, "scheme": "row", "rounding": "stochastic", "share": 0.5},
        "what": "delta",
        "download": {"bits": 16, "half": "bfloat16"},
    },
    "centralized": {},
    "light": {
        "kind": "fedavg",
        "model": {
            "family": "distilbert",
            "hidden": 8,
            "layers": 2,
            "heads": 2,
            "feed_forward": 16,
            "max_positions": 24,
            "classifier": "linear",
        },
    },
}
"""Every kind of method, and the options that take another path through the code."""


def write_texts(folder: Path) -> None:
    """`train.jsonl` and `test.jsonl`: clients of unequal sizes, with a topic a sample."""
    draw, vocabulary = rng.stream(5, "texts"), TEXT.split()
    for name, sizes in (("train", range(4, 4 + 3 * CLIENTS, 3)), ("test", [5] * CLIENTS)):
        lines = []
        for client, samples in enumerate(sizes):
            for _ in range(samples):
                topic = int(draw.integers(3))
                words = draw.choice(vocabulary[topic * 5 :], int(draw.integers(3, 20)))
                row = {"text": " ".join(words), "client": f"c{client}", "topic": f"t{topic}"}
                lines.append(json.dumps(row))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def small(methods: Mapping[str, Mapping[str, Any]] = METHODS, **changes: Any) -> dict[str, Any]:
    """A scenario over the files of `write_texts` with five rounds; changes as in ``small(phases__finetune=None)``."""
    raw: dict[str, Any] = {
        "name": "small",
        "seed": 3,
        "data": {
            "corpus": {
                "kind": "files",
                "train": ["train.jsonl"],
                "test": ["test.jsonl"],
                "client": "client",
                "labels": ["topic"],
            },
            "tokenizer": {"vocabulary": 300},
            "partition": {"kind": "natural"},
            "max_tokens": 24,
            "central_fraction": 0.2,
        },
        "model": {"hidden": 16, "layers": 4, "heads": 2, "feed_forward": 32, "max_positions": 24},
        "fleet": {"clients": CLIENTS},
        "phases": {
            "pretrain": {"steps": 3},
            "further_pretrain": {
                "rounds": 3,
                "participation": {"clients_per_round": 4, "over_selection": 1.25},
                "local": {"optimizer": {"learning_rate": 1e-3}},
            },
            "finetune": {
                "rounds": 2,
                "task": {"label": "topic"},
                "participation": {"clients_per_round": 5, "deadline_s": 0.25},
                "local": {"optimizer": {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9}, "max_batches": 2},
            },
        },
        "methods": deepcopy(dict(methods)),
        "outputs": {"save_models": False, "checkpoint_every_rounds": 1},
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        here = raw
        for name in parents:
            here = here.setdefault(name, {})
        here[last] = value
    return raw


def run(
    raw: Mapping[str, Any],
    base: Path,
    out: Path,
    engine: Callable[[], Engine] | None = InlineEngine,
    *,
    methods: Sequence[str] = (),
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Run a scenario; `base` is the folder of its files, `engine` None is price mode."""
    scenario = Scenario.model_validate(dict(raw))
    request = Request(scenario, base, out, tuple(methods), price=engine is None)
    return simulate(request, engine, observer or Silent())


def resume(out: Path, engine: Callable[[], Engine] | None = InlineEngine) -> dict[str, Any]:
    """Go on with a run that was stopped."""
    return simulate(resumed(out), engine, Silent())


def uneven_fleet(file: Path, least_memory_bytes: int) -> pd.DataFrame:
    """Write a fleet in which one device has little memory and another a slow uplink."""
    client = np.arange(CLIENTS)
    columns = {
        "flops_per_s": 1e8 * (1.0 + client),
        "memory_bytes": np.where(client == 3, least_memory_bytes, 10_000_000),
        "downlink_bits_per_s": 1e7 * (1.0 + client % 3),
        "uplink_bits_per_s": np.where(client == 5, 1e5, 4e6),
        "latency_s": 0.01 * (1.0 + client % 2),
        "compute_power_w": 2.0 + client / 8,
        "radio_power_w": 1.0 + client / 16,
    }
    frame = pd.DataFrame(columns)
    frame.to_csv(file, index=False)
    return frame


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Its rows, with the columns as attributes."""
    return iter(frame.itertuples())


def hashes(summary: Mapping[str, Any]) -> dict[str, tuple[str | None, str]]:
    """Hashes of the weights and of the trace, by method."""
    return {name: (m["weights_sha256"], m["trace_sha256"]) for name, m in summary["methods"].items()}


class Wrapped:
    """An engine around another one, for tests to interfere with."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.hosts = inner.hosts

    @property
    def published_bytes(self) -> int:
        return self.inner.published_bytes

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.inner.publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        yield from self.inner.run(tasks, label)

    def events(self) -> list[tuple[str, str]]:
        return self.inner.events()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Blocks(Wrapped):
    """Keeps the blocks that are trained."""

    def __init__(self, seen: list[TrainBlock]) -> None:
        super().__init__(InlineEngine())
        self._seen = seen

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        self._seen += [task for task in tasks if isinstance(task, TrainBlock)]
        yield from self.inner.run(tasks, label)


class Lent(Wrapped):
    """An engine that outlives the run, because its hosts take seconds to start.

    Hosts know a group by name and version, so every run gets names of its own.
    """

    def __init__(self, inner: Engine, run: str) -> None:
        super().__init__(inner)
        self._run = run

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.inner.publish(f"{self._run}/{name}", version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        own = [
            replace(
                task,
                prefix=f"{self._run}/{task.prefix}",
                groups={f"{self._run}/{name}": version for name, version in task.groups.items()},
            )
            for task in tasks
        ]
        yield from self.inner.run(own, label)

    def close(self) -> None:
        pass


class Shuffled(Wrapped):
    """Does the tasks in an order of its own, and gives the results back in yet another."""

    def __init__(self, seed: int) -> None:
        super().__init__(InlineEngine())
        self._draw = np.random.default_rng(seed)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        mixed = [tasks[i] for i in self._draw.permutation(len(tasks))]
        results = list(self.inner.run(mixed, label))
        yield from (results[i] for i in self._draw.permutation(len(results)))


class Killed(BaseException):
    """What stands in for SIGKILL inside a process: nobody may handle it."""


class Dying(Wrapped):
    """Dies after it has given that many results; measurements do not count, which may be known from before."""

    def __init__(self, inner: Engine, results: int) -> None:
        super().__init__(inner)
        self._left = results

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            if not isinstance(result, Measured):
                if not self._left:
                    raise Killed
                self._left -= 1
            yield result


class Forgetful:
    """Knows of no memory that was measured before, and keeps none."""

    def __init__(self, cache_folder: Path) -> None:
        pass

    def find(self, wanted: Iterable[Wanted]) -> dict[Wanted, Polynomial]:
        return {}

    def keep(self, measured: dict[Wanted, Polynomial]) -> None:
        pass


def pretend_memory(patch: pytest.MonkeyPatch, measure: Callable[[LocalShape, Optimizer], Polynomial]) -> None:
    """Prices in this process take this for the peak memory; nothing of it stays in the cache folder."""
    patch.setattr("fedsim.plan_costs.peak_polynomial", measure)
    patch.setattr("fedsim.plan_costs.KnownMemory", Forgetful)
