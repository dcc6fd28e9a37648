"""Side by side or one by one: the same run but for rounding, and the same bits wherever it runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedsim
from fedsim import stacking
from fedsim.data.objective import NumpyBatch
from fedsim.engine import stacks
from fedsim.engine.host import Host
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import ClientWork, TrainBlock
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.store.atomic import Array
from fedsim.store.checkpoint import load_latest
from fedsim.training.stacked import train_stacked
from tests import runs
from tests.runs import Dying, Killed, Lent, hashes, small
from tests.test_same_bits import Pools

METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedprox": {"mu": 0.1},
    "fedbt": {"finetune": {"local_layers": 2}},
    "split": {"kind": "fedsplitbert", "global_layers": [0, 2], "upload": {"bits": 16}},
    "half": {"kind": "heterofl", "rates": [0.5]},
}


def scenario(stacked: str, methods: dict[str, dict[str, Any]] = METHODS, **changes: Any) -> dict[str, Any]:
    """Blocks of four clients with two small batches each, without dropout."""
    local = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_samples": 2, "max_batches": 2, "clip_norm": 1.0}
    return small(
        methods,
        model__dropout=0.0,
        engine__stacked=stacked,
        engine__block_clients=4,
        data__max_tokens=16,
        phases__further_pretrain__local=local,
        phases__finetune__local=local,
        **changes,
    )


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clients the stacks had that were trained in this process."""
    seen: list[int] = []
    honest = train_stacked

    def spy(model: Any, *args: Any, **settings: Any) -> Any:
        seen.append(model.clients)
        return honest(model, *args, **settings)

    monkeypatch.setattr(stacks, "train_stacked", spy)
    return seen


def weights(out: Path, method: str) -> dict[str, Array]:
    state = load_latest(out / "checkpoints" / method)
    assert state is not None
    return {name: array for name, array in state.arrays.items() if name.startswith("group/")}


@pytest.mark.slow
def test_the_same_run_but_for_rounding(world: Path, tmp_path: Path, sizes: list[int]) -> None:
    runs.run(scenario("never"), world, tmp_path / "never")
    assert not sizes
    runs.run(scenario("always"), world, tmp_path / "always")
    assert len(sizes) >= 20  # FedBT's clients draw layers, and seldom freeze the same ones
    assert max(sizes) == 4
    alone, together = (fedsim.read_run(tmp_path / how) for how in ("never", "always"))
    columns = [name for name in alone.trips.columns if name not in ("loss",)]
    assert together.trips[columns].equals(alone.trips[columns])
    assert np.allclose(together.trips["loss"], alone.trips["loss"], rtol=1e-5, equal_nan=True)
    for method in METHODS:
        found, wanted = weights(tmp_path / "always", method), weights(tmp_path / "never", method)
        for name, values in wanted.items():
            assert np.abs(found[name] - values).max() < 1e-5, (method, name)


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_same_bits_on_any_number_of_hosts(world: Path, tmp_path: Path, pools: Pools, hosts: int) -> None:
    here = hashes(runs.run(scenario("always"), world, tmp_path / "here"))
    lent = partial(Lent, pools(hosts), str(tmp_path))
    assert hashes(runs.run(scenario("always"), world, tmp_path / "there", lent)) == here


def test_the_same_bits_after_a_stop_within_a_round(world: Path, tmp_path: Path) -> None:
    methods = {name: METHODS[name] for name in ("split",)}
    raw = scenario("always", methods)
    here = hashes(runs.run(raw, world, tmp_path / "here"))
    with pytest.raises(Killed):
        runs.run(raw, world, tmp_path / "killed", lambda: Dying(InlineEngine(), 7))
    assert hashes(runs.resume(tmp_path / "killed")) == here


def test_a_client_that_fails_is_named_and_the_others_count(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    honest = Host._all_samples

    def broken(host: Host, data: Any, task: TrainBlock, work: ClientWork) -> Iterator[NumpyBatch]:
        if work.client == 4:
            raise OSError("the disk of this phone is full")
        yield from honest(host, data, task, work)

    monkeypatch.setattr(Host, "_all_samples", broken)
    cohorts = {"clients_per_round": 4, "cohorts": [[1, 4, 5, 6]]}
    changes = {"phases__finetune": None, "phases__further_pretrain__rounds": 1}
    raw = scenario("always", {"fedavg": {}}, engine__max_failed_fraction=0.25, **changes)
    raw["phases"]["further_pretrain"]["participation"] = cohorts
    runs.run(raw, world, tmp_path / "run")
    assert sizes == [3]
    trips = fedsim.read_run(tmp_path / "run").trips.set_index("client")
    assert trips["outcome"].to_dict() == {1: "completed", 4: "failed", 5: "completed", 6: "completed"}
    assert "the disk of this phone is full" in trips["cause"][4]


@pytest.mark.slow
def test_a_stack_that_fails_as_a_whole_is_trained_one_by_one(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"fedavg": METHODS["fedavg"]}
    wanted = hashes(runs.run(scenario("never", methods), world, tmp_path / "never"))

    def broken(*args: Any, **settings: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(stacks, "train_stacked", broken)
    found = hashes(runs.run(scenario("always", methods), world, tmp_path / "always"))
    assert found["fedavg"][1] == wanted["fedavg"][1]


@pytest.mark.parametrize(
    ("hidden", "head", "tokens", "predicted", "wanted"),
    [
        (64, "pooler", 32, 8, 32),  # 8 samples of 32 tokens: 16,384 numbers a client, of 524,288
        (16, "pooler", 8, 8, 64),  # small ones are enough at 64
        (128, "mlm", 32, 16, 16),
        (128, "mlm", 32, 256, 8),  # 256 positions over 2,000 words: half a million logits a client
        (512, "pooler", 64, 8, 4),  # whoever wants it so gets stacks of large ones, too
    ],
)
def test_a_stack_holds_what_fits_a_cache(hidden: int, head: str, tokens: int, predicted: int, wanted: int) -> None:
    batch = NumpyBatch(np.ones((8, tokens), np.int64), np.full(8, tokens), None, np.ones(predicted, np.int64))
    assert stacks.most(shape(hidden, head), [(ClientWork.__new__(ClientWork), [batch])]) == wanted


def shape(hidden: int, head: str = "pooler", vocabulary: int = 2000) -> LocalShape:
    architecture = Architecture("bert", vocabulary, hidden, 2, 2, 4 * hidden, 64, 0.0)
    return LocalShape(architecture, Head("mlm") if head == "mlm" else Head("pooler", 4), 2, (0, 1), True, True)


def test_small_steps_of_many_clients_are_made_side_by_side() -> None:
    step = np.array([[8, 32, 8]])
    assert stacking.pays(shape(64), np.repeat(step, 8, 0))
    assert not stacking.pays(shape(64), np.repeat(step, 7, 0))
    assert not stacking.pays(shape(768), np.repeat(step, 16, 0))
    assert stacking.pays(shape(64, "mlm", 8000), np.repeat([[8, 32, 38]], 16, 0))
    assert not stacking.pays(shape(64, "mlm", 8000), np.repeat([[8, 32, 256]], 16, 0))


def test_a_block_of_clients_side_by_side_has_four_of_them_or_more() -> None:
    assert [stacking.fewer(4, clients) for clients in (5, 10, 15, 16, 100)] == [2, 2, 3, 4, 4]
    assert stacking.fewer(32, 100) == 25
    assert stacking.fewer(1, 100) == 1


def test_blocks_come_in_fours_as_there_is_work() -> None:
    assert [stacking.count(flops, 100) for flops in (1e3, 50e9, 70e9, 150e9, 1e15)] == [4, 4, 8, 16, 32]
    assert stacking.count(1e15, 10) == 10
    assert stacking.count(0.0, 3) == 3
    assert [len(block) for block in stacking.split(np.arange(10), 4)] == [3, 3, 2, 2]
    assert [len(block) for block in stacking.split(np.arange(3), 0)] == [3]


def test_blocks_of_stacks_have_clients_with_as_many_batches() -> None:
    members, batches = np.arange(5, 105), np.tile([3, 1], 60)
    found = stacking.split(members, 8, batches)
    assert [len(block) for block in found] == [13, 13, 13, 13, 12, 12, 12, 12]
    assert sorted(np.concatenate(found).tolist()) == members.tolist()
    assert sum(len(set(batches[block])) > 1 for block in found) == 1
