"""With trips under way between rounds, and devices that come and go, runs are still the same bit for bit."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fedsim
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import Result, Task, TrainBlock
from fedsim.store.checkpoint import load_latest
from tests import runs
from tests.policies.worlds import POLICIES, PRESENCE, SOME, playing
from tests.runs import Killed, Shuffled, Wrapped, hashes
from tests.test_same_bits import Hashes, Pools, lent

slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture(
    scope="module", params=[name if name in ("asynchronous", "tiered") else slow(name) for name in POLICIES]
)
def policy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def raw(policy: str) -> dict[str, Any]:
    return playing(policy, **PRESENCE)


@pytest.fixture(scope="module")
def out(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(policy) / "run"


@pytest.fixture(scope="module")
def unbroken(raw: dict[str, Any], policy: str, world: Path, out: Path) -> Hashes:
    found = hashes(runs.run(raw, world, out))
    assert len({weights for weights, _ in found.values()}) == len(SOME[policy])
    trips = fedsim.read_run(out).trips
    assert {"completed", "dropped"} <= set(trips.outcome)
    assert (trips.staleness.max() > 0) == (policy != "synchronous")
    return found


def test_price_mode_plays_the_same_trips(
    raw: dict[str, Any], unbroken: Hashes, out: Path, world: Path, tmp_path: Path
) -> None:
    runs.run(raw, world, tmp_path / "priced", None)
    priced, trained = (fedsim.read_run(folder).trips.drop(columns="loss") for folder in (tmp_path / "priced", out))
    assert priced.equals(trained)


@pytest.mark.slow
def test_any_order_of_completion(raw: dict[str, Any], unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    assert hashes(runs.run(raw, world, tmp_path / "run", lambda: Shuffled(0))) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy", ["asynchronous", *(slow(name) for name in POLICIES if name != "asynchronous")], indirect=True
)
@pytest.mark.parametrize("hosts", [slow(1), 2, slow(3)])
def test_any_number_of_hosts(
    raw: dict[str, Any], unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools, hosts: int
) -> None:
    assert hashes(runs.run(raw, world, tmp_path / "run", partial(lent, pools, hosts, tmp_path))) == unbroken


class Dying(Wrapped):
    """Dies while the updates of a round come in."""

    def __init__(self, round_: int) -> None:
        super().__init__(InlineEngine())
        self._round = round_

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in super().run(tasks, label):
            task = tasks[result.index]
            if isinstance(task, TrainBlock) and task.round >= self._round:
                raise Killed
            yield result


@pytest.mark.slow
@pytest.mark.parametrize("round_", [6, slow(1), slow(3), slow(5), slow(7)])
@pytest.mark.parametrize("every", [1, slow(3)])
def test_resumed_with_clients_under_way(
    raw: dict[str, Any], policy: str, unbroken: Hashes, world: Path, tmp_path: Path, round_: int, every: int
) -> None:
    raw = {**raw, "outputs": {**raw["outputs"], "checkpoint_every_rounds": every}}
    out = tmp_path / "run"
    with pytest.raises(Killed):
        runs.run(raw, world, out, lambda: Dying(round_))
    if every == 1 and round_ == 6 and policy != "synchronous":
        under_way = load_latest(out / "checkpoints" / next(iter(raw["methods"])))
        assert under_way is not None
        assert any(name.startswith("older/") for name in under_way.arrays), "nobody needs an older model"
    with suppress(Killed):
        runs.resume(out, lambda: Dying(round_ + 1))
    assert hashes(runs.resume(out)) == unbroken
