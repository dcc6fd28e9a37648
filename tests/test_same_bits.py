"""The same scenario and seed give the same weights and the same trace, bit for bit, wherever and however it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedsim
from fedsim.engine.base import Engine
from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.engine.tasks import Result, Task
from fedsim.store import checkpoint
from tests import runs
from tests.runs import METHODS, Dying, Killed, Lent, Shuffled, Wrapped, hashes, small

slow = partial(pytest.param, marks=pytest.mark.slow)
Hashes = dict[str, tuple[str | None, str]]
Pools = Callable[[int], RayEngine]


@pytest.fixture(scope="module")
def unbroken(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Hashes:
    """Every method, in this process, from start to end."""
    found = hashes(runs.run(small(), world, tmp_path_factory.mktemp("unbroken") / "run"))
    assert all(len(set(column)) == len(METHODS) for column in zip(*found.values(), strict=True))
    return found


def lent(pools: Pools, hosts: int, out: Path) -> Lent:
    return Lent(pools(hosts), str(out))


@pytest.mark.slow
def test_run_again(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    summary = runs.run(small(), world, tmp_path / "run")
    assert hashes(summary) == unbroken
    # one state of the machine with pooled data for each of the two checkpoints, though it trained five times
    assert len(list((tmp_path / "run" / "clients" / "centralized").rglob("*.safetensors"))) == 2
    read = fedsim.read_run(tmp_path / "run")
    assert {name: read.trace_sha256(name) for name in METHODS} == {name: trace for name, (_, trace) in unbroken.items()}


@pytest.mark.slow
def test_any_order_of_completion(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    assert hashes(runs.run(small(), world, tmp_path / "run", lambda: Shuffled(0))) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [slow(1), 2, slow(3)])
def test_any_number_of_hosts(unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools, hosts: int) -> None:
    assert hashes(runs.run(small(), world, tmp_path / "run", partial(lent, pools, hosts, tmp_path))) == unbroken


@pytest.mark.slow
def test_a_method_alone_and_methods_in_another_order(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    alone = hashes(runs.run(small(), world, tmp_path / "alone", methods=["everything"]))
    assert alone == {"everything": unbroken["everything"]}
    order = ["needed", "light", "fedavg"]
    assert hashes(runs.run(small({name: METHODS[name] for name in order}), world, tmp_path / "order")) == {
        name: unbroken[name] for name in order
    }


def test_another_seed_is_another_run(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    other = hashes(runs.run(small({"fedavg": {}}, seed=4), world, tmp_path / "run"))["fedavg"]
    assert other[0] != unbroken["fedavg"][0]
    assert other[1] != unbroken["fedavg"][1]


@pytest.mark.slow
@pytest.mark.parametrize("size", [slow(1), 3])
def test_blocks_are_part_of_the_result_and_hosts_are_not(
    unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools, size: int
) -> None:
    methods = {name: METHODS[name] for name in ("kept", "everything")}
    raw = small(methods, engine__block_clients=size)
    here = hashes(runs.run(raw, world, tmp_path / "here"))
    assert hashes(runs.run(raw, world, tmp_path / "there", partial(lent, pools, 2, tmp_path))) == here
    for name in methods:
        assert size == 1 or here[name][0] != unbroken[name][0]  # by default there are as many blocks as that


def conll(folder: Path) -> None:
    """Sentences with names and places, tagged."""
    lines = []
    for i in range(120):
        words = [f"word{i % 7} O", "Ann B-PER", f"Smith{i % 3} I-PER", "lives O", "in O", f"Town{i % 5} B-LOC"]
        lines += [*words[: 3 + i % 4], f"nr{i} O", ""]
    (folder / "train.conll").write_text("\n".join(lines))


@pytest.mark.slow
def test_token_classification(world: Path, tmp_path: Path, pools: Pools) -> None:
    conll(tmp_path)
    raw = small(
        {name: METHODS[name] for name in ("fedavg", "fedbt")},
        data__corpus={"kind": "files", "train": ["train.conll"], "tags": "names"},
        data__partition={"kind": "quantity", "sigma": 1.0},
        phases__pretrain=None,
        phases__further_pretrain=None,
        phases__finetune__task={"kind": "tokens", "label": "names"},
    )
    here = runs.run(raw, tmp_path, tmp_path / "here")
    assert hashes(runs.run(raw, tmp_path, tmp_path / "there", partial(lent, pools, 2, tmp_path))) == hashes(here)
    assert 0 <= here["methods"]["fedavg"]["quality"]["finetune/span_f1"] <= 1


@pytest.mark.slow
def test_hosts_of_two_threads(world: Path, tmp_path: Path, ray_cluster: None) -> None:
    raw = small({"fedavg": METHODS["fedavg"]}, engine__threads=2)
    here = hashes(runs.run(raw, world, tmp_path / "here", lambda: InlineEngine(threads=2)))
    with RayEngine(1, threads=2) as pool:
        there = runs.run(raw, world, tmp_path / "there", lambda: Lent(pool, str(tmp_path)))
    assert hashes(there) == here


@pytest.mark.slow
@pytest.mark.parametrize("results", [0, slow(4), 11, slow(17), 24])
def test_resumed_after_it_died_within_a_round(unbroken: Hashes, world: Path, tmp_path: Path, results: int) -> None:
    methods = {name: METHODS[name] for name in ("everything", "centralized")}
    with pytest.raises(Killed):
        runs.run(small(methods), world, tmp_path / "run", lambda: Dying(InlineEngine(), results))
    assert hashes(runs.resume(tmp_path / "run")) == {name: unbroken[name] for name in methods}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, slow(2), slow(100)])
def test_resumed_again_and_again_on_other_engines(
    unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools, every: int
) -> None:
    methods = {name: METHODS[name] for name in ("kept", "needed")}
    out = tmp_path / "run"
    engines: list[Callable[[], Dying]] = [
        lambda: Dying(InlineEngine(), 12),
        lambda: Dying(lent(pools, 2, tmp_path), 13),
        lambda: Dying(lent(pools, 1 + every % 2, tmp_path), 14),
    ]
    with pytest.raises(Killed):
        runs.run(small(methods, outputs__checkpoint_every_rounds=every), world, out, engines[0])
    for engine in engines[1:]:
        with pytest.raises(Killed):
            runs.resume(out, engine)
    assert hashes(runs.resume(out)) == {name: unbroken[name] for name in methods}


@pytest.mark.parametrize(("every", "saved"), [(None, [5]), (2, [2, 4, 5])])
def test_checkpoints_of_short_rounds_are_apart_where_no_number_is_given(
    unbroken: Hashes, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int | None, saved: list[int]
) -> None:
    made, real = list[int](), checkpoint.save

    def save(folder: Path, state: checkpoint.CheckpointState) -> None:
        made.append(state.round)
        real(folder, state)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(checkpoint.Spacing, "least_s", 3600.0)
    raw = small({"fedavg": METHODS["fedavg"]}, outputs__checkpoint_every_rounds=every)
    assert hashes(runs.run(raw, world, tmp_path / "run")) == {"fedavg": unbroken["fedavg"]}
    assert made == saved


def test_a_finished_run_may_be_resumed(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    methods = {"fedavg": METHODS["fedavg"]}
    runs.run(small(methods), world, tmp_path / "run")
    assert hashes(runs.resume(tmp_path / "run")) == {"fedavg": unbroken["fedavg"]}


class Stopped(Wrapped):
    """Ctrl-C within the first evaluation, before any round."""

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        if label.endswith("evaluate"):
            raise KeyboardInterrupt
        yield from self.inner.run(tasks, label)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
def test_resumed_after_ctrl_c_before_the_first_round(unbroken: Hashes, world: Path, tmp_path: Path, every: int) -> None:
    raw = small({"fedavg": {}}, outputs__checkpoint_every_rounds=every)
    with pytest.raises(KeyboardInterrupt):
        runs.run(raw, world, tmp_path / "run", lambda: Stopped(InlineEngine()))
    assert hashes(runs.resume(tmp_path / "run")) == {"fedavg": unbroken["fedavg"]}


class Murderer(Wrapped):
    """In the rounds that it is told, kills a host that has blocks to work on: the first host, then the next."""

    def __init__(self, inner: Engine, pool: RayEngine, labels: Sequence[str]) -> None:
        super().__init__(inner)
        self.pool, self.labels = pool, list(labels)
        self.victims = iter(pool.processes())

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        if label not in self.labels:
            yield from self.inner.run(tasks, label)
            return
        self.labels.remove(label)
        victim = next(self.victims)
        os.kill(victim, signal.SIGSTOP)  # whatever it is given now is still there when it dies
        results = self.inner.run(tasks, label)
        yield next(results)
        os.kill(victim, signal.SIGKILL)
        yield from results


@pytest.mark.slow
def test_a_host_killed_in_the_middle_of_a_round(unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools) -> None:
    methods = {name: METHODS[name] for name in ("everything", "light")}
    labels = ["everything/further_pretrain stage 0/train", "light/finetune stage 0/train"]

    def engine() -> Murderer:
        return Murderer(lent(pools, 2, tmp_path), pools(2), labels)

    assert hashes(runs.run(small(methods), world, tmp_path / "run", engine)) == {n: unbroken[n] for n in methods}
    events = fedsim.read_run(tmp_path / "run").events
    deaths = events[events.kind == "host_died"]
    assert set(zip(deaths.method, deaths["round"], strict=True)) == {("everything", 0), ("light", 3)}
    wanted = r"host [12] died on task \d \(clients \d(, \d)*; \w+, stage 0, round \d\), attempt 1: "
    assert deaths.text.str.match(wanted).all()


def kills(raw: Mapping[str, Any], world: Path, folder: Path, seed: int, *mode: str) -> tuple[Hashes, list[str]]:
    """What a run that was killed again and again ended with, and the places at which it was killed."""
    scenario = world / f"{folder.name}.yaml"
    scenario.write_text(yaml.safe_dump(dict(raw)))
    command = [sys.executable, "-m", "tests.kills", str(scenario), str(folder / "run"), str(seed), *mode]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = [path for path in (folder / "run").rglob("*") if ".tmp-" in path.name or ".old-" in path.name]
    assert not left
    summary = json.loads((folder / "run" / "run.json").read_text())
    return hashes(summary), done.stdout.splitlines()


def parts(places: Sequence[str]) -> set[str]:
    """The parts of a run's folder that were about to change: `checkpoints`, `clients`, `shards` ..."""
    return {place.split()[1].split("/")[0].split(".tmp-")[0] for place in places}


@pytest.mark.slow
def test_killed_again_and_again(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    short = {"phases__finetune": None, "phases__further_pretrain__rounds": 2}
    wanted = hashes(runs.run(small({"kept": METHODS["kept"]}, **short), world, tmp_path / "unbroken"))
    found, places = kills(small({"kept": METHODS["kept"]}, **short), world, tmp_path, 0)
    assert found == wanted
    assert len(parts(places)) >= 3, places


@pytest.mark.slow
def test_killed_at_many_places(unbroken: Hashes, world: Path, tmp_path: Path) -> None:
    names = ("kept", "centralized")
    raw = small({name: METHODS[name] for name in names}, outputs__save_models=True)
    found, places = kills(raw, world, tmp_path, 1)
    assert found == {name: unbroken[name] for name in names}
    assert len(places) > 25
    assert parts(places) >= {"checkpoints", "clients", "trace", "shards", "models"}, places
    # the optimizer of the machine with pooled data: one state for each of the two checkpoints
    assert len(list((tmp_path / "run" / "clients" / "centralized").rglob("*.safetensors"))) == 2


@pytest.mark.slow
def test_killed_in_price_mode_while_a_thread_writes(world: Path, tmp_path: Path) -> None:
    """Neither kills, nor when checkpoints are made, nor how the trace is cut into parts changes a price."""
    raw = small({name: METHODS[name] for name in ("kept", "needed")}, phases__further_pretrain__rounds=40)
    wanted = hashes(runs.run(raw, world, tmp_path / "unbroken", None))
    found, places = kills(raw, world, tmp_path, 2, "price")
    assert found == wanted
    assert parts(places) >= {"checkpoints", "trace"}, places


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fedsim", "scenario", *arguments]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "engine", "place", "code"),
    [
        (signal.SIGKILL, "ray", "clients/kept/000", -9),
        (signal.SIGTERM, "inline", "checkpoints/fedbt", 143),
        (signal.SIGINT, "ray", "checkpoints/kept/round-000001", 130),
    ],
)
def test_a_command_that_is_stopped_goes_on_with_the_other_engine(
    unbroken: Hashes, world: Path, tmp_path: Path, number: int, engine: str, place: str, code: int
) -> None:
    methods = {name: METHODS[name] for name in ("kept", "fedbt")}
    (world / "stopped.yaml").write_text(yaml.safe_dump(small(methods)))
    run = tmp_path / "run"
    start = command(str(world / "stopped.yaml"), "--out", str(run), "--engine", engine)
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (run / place).exists():
            time.sleep(0.01)
        process.send_signal(number)
        _, messages = process.communicate()
    assert process.returncode == code, messages
    again = command("--resume", str(run), "--engine", "inline" if engine == "ray" else "ray", "--json")
    ended = subprocess.run(again, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert hashes(json.loads(ended.stdout)) == {name: unbroken[name] for name in methods}
