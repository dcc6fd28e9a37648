"""Every global model under a policy, worked out again from single updates and the formulas of docs/policies.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedsim
from fedsim import Run
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import BlockSum, ClientWork, Result, Task, TrainBlock
from fedsim.model.layout import FloatArray
from fedsim.plan import layer_index
from tests import runs
from tests.policies.worlds import KINDS, devices
from tests.runs import Wrapped, rows, small

METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "changes": {"kind": "fedavg", "what": "delta", "download": {"bits": 16, "half": "bfloat16"}},
    "received": {"kind": "fedavg", "download": {"bits": 16, "half": "bfloat16"}},
    "heterofl": {"rates": [0.5, 1.0]},
    "depthfl": {},
}


@dataclass
class Step:
    """A round's updates, and the groups before it."""

    before: dict[str, FloatArray]
    updates: list[tuple[TrainBlock, ClientWork, Mapping[str, FloatArray]]] = field(default_factory=list)
    after: dict[str, FloatArray] = field(default_factory=dict)


class Spy(Wrapped):
    """Keeps all groups that are published, and what every single client has sent."""

    def __init__(self, steps: dict[tuple[str, int], Step], single: bool = True) -> None:
        super().__init__(InlineEngine())
        self.single = single
        self.steps = steps
        self.versions: dict[tuple[str, int], FloatArray] = {}
        self.latest: dict[str, FloatArray] = {}

    def publish(self, name: str, version: int, values: FloatArray, keep: Any = ()) -> None:
        self.versions[name, version] = self.latest[name] = values
        for step in [step for (method, _), step in self.steps.items() if name.startswith(f"{method}/")][-1:]:
            step.after[name] = values
        super().publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Any:
        for result in super().run(tasks, label):
            task = tasks[result.index]
            if self.single and isinstance(task, TrainBlock):
                self.keep(task, result)
            yield result

    def keep(self, task: TrainBlock, result: Result) -> None:
        assert isinstance(result, BlockSum)
        (work,) = task.clients
        step = self.steps.setdefault((task.method, task.round), Step(dict(self.latest)))
        step.updates.append((task, work, {name: np.array(values) for name, values in result.sums.items()}))


SPEEDS = (1.0, 2.5, 1.2, 4.0, 1.1, 3.0, 1.3, 6.0)


def seen(
    policy: Mapping[str, Any], clients: int, world: Path, out: Path, method: str, speeds: Sequence[float] = SPEEDS
) -> tuple[Run, Spy]:
    part = {"clients_per_round": clients, "policy": dict(policy)}
    raw = small(
        {method: METHODS[method]},
        fleet__source={"kind": "file", "path": "fleet.csv"},
        phases__further_pretrain__participation=part,
        phases__further_pretrain__rounds=6,
        phases__finetune=None,
        engine__block_clients=1,
    )
    devices(world, speeds)
    spy = Spy({})
    runs.run(raw, world, out, lambda: spy)
    return fedsim.read_run(out), spy


def meant(spy: Spy, run: Run, method: str, round_: int, *, mixed: bool, factor: Any) -> dict[str, FloatArray]:
    """The mean over the clients of a round of t + c (w - v), or of (1 - c) t + c w, entry by entry."""
    step = spy.steps[method, round_]
    trips = {trip.client: trip for trip in rows(run.trips[run.trips["round"] == round_])}
    sums: dict[str, tuple[Any, Any]] = {}
    samples = sum(trip.samples for trip in trips.values() if trip.useful)
    for task, work, sent in step.updates:
        trip = trips[work.client]
        c = factor(trip.staleness)
        assert task.round == round_
        assert trip.weight == pytest.approx(c * trip.samples / samples)
        for name, values in sent.items():
            key = task.prefix + name
            now, start = step.before[key], spy.versions[key, task.groups[key]]
            exact = step.before[f"{method}/{name}"]
            place = layer_index(name)
            entries = slice(None) if task.window is None or place is None else task.window.entries(place)
            update = values / work.shares[name]
            own = start[entries] + update if task.wire.delta else update
            t, v = now[entries].astype(np.float64), start[entries].astype(np.float64)
            stands_for = (1 - c) * t + c * own if mixed else t + c * (own - v)
            total, held = sums.setdefault(name, (np.zeros(exact.shape), np.zeros(exact.shape)))
            # of changes, what is added goes to the group as the server has it
            total[entries] += trip.samples * (stands_for + (exact[entries] - t if task.wire.delta else 0.0))
            held[entries] += trip.samples
    return {
        name: np.where(held > 0, total / np.where(held > 0, held, 1), step.before[f"{method}/{name}"])
        for name, (total, held) in sums.items()
    }


def check(spy: Spy, method: str, round_: int, wanted: Mapping[str, FloatArray]) -> None:
    after = spy.steps[method, round_].after
    assert wanted
    for name, values in wanted.items():
        np.testing.assert_allclose(after[f"{method}/{name}"], values, rtol=1e-6, atol=1e-6)
        assert not np.array_equal(after[f"{method}/{name}"], spy.steps[method, round_].before[f"{method}/{name}"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_buffered(method: str, world: Path, tmp_path: Path) -> None:
    run, spy = seen({"kind": "buffered", "concurrency": 5}, 2, world, tmp_path / "run", method)
    assert run.trips[run.trips.useful].staleness.max() > 1
    for round_ in range(6):
        found = meant(spy, run, method, round_, mixed=False, factor=lambda s: (1 + s) ** -0.5)
        check(spy, method, round_, found)


def hinge(s: int) -> float:
    return 0.5 if s <= 1 else 0.5 / (3.0 * (s - 1) + 1)


@pytest.mark.parametrize(
    ("how", "method", "factor"),
    [
        ({"staleness": "constant", "mixing": 0.7}, "fedavg", lambda s: 0.7),
        ({"exponent": 1.5}, "changes", lambda s: 0.6 * (1 + s) ** -1.5),
        ({"staleness": "hinge", "mixing": 0.5, "hinge_after": 1, "hinge_slope": 3.0}, "received", hinge),
        ({"mixing": 1.0, "exponent": 0.0}, "heterofl", lambda s: 1.0),
    ],
    ids=["constant", "polynomial", "hinge", "all"],
)
def test_asynchronous(how: dict[str, Any], method: str, factor: Any, world: Path, tmp_path: Path) -> None:
    run, spy = seen({"kind": "asynchronous", "concurrency": 4, **how}, 1, world, tmp_path / "run", method)
    assert run.trips[run.trips.useful].staleness.max() > 2
    for round_ in range(6):
        check(spy, method, round_, meant(spy, run, method, round_, mixed=True, factor=factor))


@pytest.mark.parametrize("weighting", ["slow_first", "equal"])
def test_tiered(weighting: str, world: Path, tmp_path: Path) -> None:
    policy = {"kind": "tiered", "tiers": 2, "weighting": weighting}
    # the first four clients have fewer samples and faster devices
    run, spy = seen(policy, 2, world, tmp_path / "run", "fedavg", [1.0] * 4 + [2.0] * 4)
    models: tuple[dict[str, FloatArray], dict[str, FloatArray]] = ({}, {})
    steps = [0, 0]
    for round_ in range(6):
        clients = {work.client for _, work, _ in spy.steps["fedavg", round_].updates}
        tier = int(min(clients) >= 4)
        assert tier or max(clients) < 4
        steps[tier] += 1
        models[tier].update(meant(spy, run, "fedavg", round_, mixed=True, factor=lambda s: 1.0))
        before = spy.steps["fedavg", round_].before
        # the fast tier counts by the steps of the slow one, and the other way round; one more for both
        slow = 0.5 if weighting == "equal" else (steps[0] + 1) / (sum(steps) + 2)
        fast, late = ({name: own.get(name, before[f"fedavg/{name}"]) for name in models[tier]} for own in models)
        check(spy, "fedavg", round_, {name: (1 - slow) * fast[name] + slow * late[name] for name in fast})
    assert min(steps) > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["split", "adam", "fedbt", "received"])
def test_waiting_for_everybody_gives_the_models_of_synchronous_rounds(method: str, world: Path, tmp_path: Path) -> None:
    versions = []
    for policy in ({"kind": "synchronous"}, {"kind": "buffered", "concurrency": 8, "staleness_exponent": 3.0}):
        part = {"clients_per_round": 8, "policy": policy}
        kinds = {**KINDS, **METHODS}
        raw = small({method: kinds[method]}, phases__further_pretrain__participation=part, phases__finetune=None)
        spy = Spy({}, single=False)
        runs.run(raw, world, tmp_path / str(policy["kind"]), lambda own=spy: own)  # type: ignore[misc]
        versions.append(spy.versions)
    synchronous, buffered = versions
    assert synchronous.keys() == buffered.keys()
    assert max(version for _, version in synchronous) >= 2
    for key, values in synchronous.items():
        assert np.array_equal(values, buffered[key]), key
