"""A host gives the same bits however often it does a task, and keeps what it has built within bounds."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsim.cost.parameters import local_size
from fedsim.engine.host import Host
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import BlockSum, Result, Task, TrainBlock
from fedsim.model.layout import FloatArray
from tests import runs
from tests.engine.tasks import measure
from tests.runs import METHODS, Wrapped, small


class Recorder(Wrapped):
    """Keeps the blocks of a run and their results; does every block a second time, on another host."""

    def __init__(self) -> None:
        super().__init__(InlineEngine())
        self.other = Host("another")
        self.blocks: list[tuple[TrainBlock, BlockSum, BlockSum]] = []
        self.files: list[tuple[dict[Path, bytes], dict[Path, bytes]]] = []
        self.groups: dict[tuple[str, int], FloatArray] = {}

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.groups[name, version] = values
        self.inner.publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for task in tasks:
            (result,) = self.inner.run([task], label)
            if isinstance(task, TrainBlock) and isinstance(result, BlockSum):
                before = content(task.state_folder)
                self.blocks.append((task, result, self.again(task, self.other)))
                self.files.append((before, content(task.state_folder)))
            yield result

    def again(self, task: TrainBlock, host: Host) -> BlockSum:
        for name in host.missing(task):
            host.receive(name, task.groups[name], self.groups[name, task.groups[name]])
        result = host.run(task)
        assert isinstance(result, BlockSum)
        return result


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def recorder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    recorder = Recorder()
    methods = {name: METHODS[name] for name in ("everything", "light")}
    raw = small(methods, engine__block_clients=2)
    runs.run(raw, world, tmp_path_factory.mktemp("host") / "run", lambda: recorder)
    return recorder


def test_a_block_done_again_gives_the_same_bits_and_leaves_the_same_files(recorder: Recorder) -> None:
    assert any(work.state_round >= 0 for task, _, _ in recorder.blocks for work in task.clients)
    for _, once, twice in recorder.blocks:
        assert twice.clients == once.clients
        assert {name: sums.tobytes() for name, sums in twice.sums.items()} == {
            name: sums.tobytes() for name, sums in once.sums.items()
        }
    assert any(before for before, _ in recorder.files)
    assert all(before == after for before, after in recorder.files)


def test_the_order_inside_a_block_is_part_of_it_and_shares_add_up(recorder: Recorder) -> None:
    sent: dict[tuple[str, int, str], float] = {}
    for task, result, _ in recorder.blocks:
        assert len(task.clients) <= 2
        assert result.sums.keys() == {name for work in task.clients for name in work.shares}
        for work in task.clients:
            trained = [work.slots[position] for position in task.shape.train_layers]
            for name, share in work.shares.items():
                times = trained.count(int(name.removeprefix("layer."))) if name.startswith("layer.") else 1
                key = (task.method, task.round, name)
                sent[key] = sent.get(key, 0.0) + share * times
    assert all(total == pytest.approx(1.0, abs=1e-12) for total in sent.values())


def test_callers_keep_their_random_numbers(recorder: Recorder) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    recorder.again(recorder.blocks[0][0], Host("another"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_few_built_models_are_kept(recorder: Recorder) -> None:
    host = Host("another")
    task = recorder.blocks[0][0]
    for depth in range(1, 9):
        host._model(replace(task.shape, depth=depth, train_layers=(0,)))
    assert [shape.depth for shape, _ in host._models] == [3, 4, 5, 6, 7, 8]


def test_a_large_model_stands_alone_and_its_memory_is_given_back(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, task, told = Host("another"), recorder.blocks[0][0], []
    monkeypatch.setattr("fedsim.engine.host.keep_freed_memory", lambda: told.append("keep"))
    monkeypatch.setattr("fedsim.engine.host.return_freed_memory", lambda: told.append("return"))
    small, large = (replace(task.shape, depth=depth, train_layers=(0,)) for depth in (1, 2))
    monkeypatch.setattr("fedsim.engine.host.LARGE_BYTES", local_size(small).bytes)
    for shape in (small, large, small):
        host._model(shape)
    assert told == ["keep", "return", "keep"]
    assert [shape.depth for shape, _ in host._models] == [2, 1]
    host._model(replace(large, depth=3))
    assert [shape.depth for shape, _ in host._models] == [3]


def test_published_groups_replace_each_other() -> None:
    host = Host("another")
    host.receive("a", 0, np.zeros(2, np.float32))
    assert host.missing(measure(0, a=0)) == []
    assert host.missing(measure(0, a=1, b=0)) == ["a", "b"]
    host.receive("a", 1, np.ones(2, np.float32))
    assert host.missing(measure(0, a=0)) == ["a"]
    assert len(host._groups) == 1
