"""Codecs in whole runs: what arrives is what was encoded, the account is of its length, and nothing else decides."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedsim
from fedsim import rng
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import BlockSum, Result, Task, TrainBlock
from fedsim.errors import FedsimError
from fedsim.model.layout import FloatArray, Layout
from fedsim.wire import Codec
from tests import runs
from tests.runs import METHODS, Dying, Killed, Lent, Shuffled, Wrapped, hashes, small
from tests.test_same_bits import Pools

SPLIT = {"split": METHODS["split"]}
PERSONAL = {"phases__evaluate": {"personal": {"fraction": 0.3}}, "phases__finetune__evaluate_every_rounds": 1}
STILL = {"kind": "sgd", "learning_rate": 1e-60}
"""A step too small for float32."""
ROW = Codec(bits=8, scheme="row")


class Recorder(Wrapped):
    """Keeps what is published and what comes back."""

    def __init__(self) -> None:
        super().__init__(InlineEngine())
        self.groups: dict[str, list[FloatArray]] = {}
        self.results: list[tuple[TrainBlock, BlockSum]] = []

    def publish(self, name: str, version: int, values: FloatArray, keep: Collection[int] = ()) -> None:
        self.groups.setdefault(name, []).append(values)
        self.inner.publish(name, version, values, keep)

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for task in tasks:
            (result,) = self.inner.run([task], label)
            if isinstance(task, TrainBlock) and isinstance(result, BlockSum):
                self.results.append((task, result))
            yield result


def one_phase(methods: dict[str, dict[str, Any]], rounds: int = 2, **local: Any) -> dict[str, Any]:
    """Fine-tuning alone, two clients a round."""
    phase = {
        "rounds": rounds,
        "task": {"label": "topic"},
        "participation": {"clients_per_round": 2},
        "local": {"max_batches": 2, **local},
    }
    return small(methods, phases__pretrain=None, phases__further_pretrain=None, phases__finetune=phase)


def test_int8_weights_are_within_half_a_step_of_what_was_trained(world: Path, tmp_path: Path) -> None:
    """Nothing moves, so the new global model is the old one as the codec leaves it."""
    spy = Recorder()
    raw = one_phase({"x": {"kind": "fedavg", "upload": {"bits": 8, "scheme": "row"}}}, rounds=1, optimizer=STILL)
    raw["phases"]["finetune"]["participation"] = {"clients_per_round": 1}
    runs.run(raw, world, tmp_path / "run", lambda: spy)
    layout = spied_layout(spy)
    before, after = spy.groups["x/layer.1"]
    assert np.abs(after - before).max() > 0
    start = 0
    for _, shape in layout.tensors:
        rows = shape[0] if len(shape) > 1 else 1
        size = int(np.prod(shape)) // rows
        for _ in range(rows):
            run = slice(start, start := start + size)
            step = np.abs(before[run]).max() / 127
            assert np.abs(after[run] - before[run]).max() <= step / 2 * (1 + 1e-4) + 1e-9
    assert start == layout.size


def spied_layout(spy: Recorder) -> Layout:
    from fedsim.model.layout import layer_layout

    return layer_layout(spy.results[0][0].shape.architecture, 1)


def test_a_delta_leaves_exact_weights_on_the_server_whatever_clients_receive(world: Path, tmp_path: Path) -> None:
    spy = Recorder()
    codec = {"bits": 8, "scheme": "row"}
    methods: dict[str, dict[str, Any]] = {
        "delta": {"kind": "fedavg", "download": codec, "upload": codec, "what": "delta"},
        "weights": {"kind": "fedavg", "download": codec},
    }
    runs.run(one_phase(methods, rounds=1, optimizer=STILL), world, tmp_path / "run", lambda: spy)
    layout = spied_layout(spy)
    before, after = spy.groups["delta/layer.1"]
    received, again = spy.groups["delta/received/layer.1"]
    assert after.tobytes() == before.tobytes() != received.tobytes()
    assert again.tobytes() == received.tobytes()
    payload = ROW.encode(before, layout, rng.stream(0))
    assert received.tobytes() == ROW.decode(payload, layout).tobytes()
    # as weights, the mean of what clients received is the new model
    _, mean = spy.groups["weights/layer.1"]
    assert mean == pytest.approx(received, abs=1e-7)
    # hosts are given what clients receive, evaluation the server's own
    for task, _ in spy.results:
        assert task.prefix == f"{task.method}/received/"


@pytest.mark.parametrize("method", [{"kind": "fedavg"}, {"kind": "heterofl", "rates": [0.5, 1.0]}], ids=str)
def test_changes_and_weights_are_the_same_in_float32_but_for_rounding(
    method: dict[str, Any], world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    methods: dict[str, dict[str, Any]] = {"weights": method, "delta": {**method, "what": "delta"}}
    spy = Recorder()
    methods_run = runs.run(one_phase(methods), world, out, lambda: spy)["methods"]
    assert methods_run["weights"]["upload_bytes"] == methods_run["delta"]["upload_bytes"]
    for name in ("embeddings", "layer.0", "layer.3", "head"):
        one, other = (spy.groups[f"{method}/{name}"][-1] for method in methods)
        assert np.abs(one - spy.groups[f"weights/{name}"][0]).max() > 1e-4
        assert np.abs(one - other).max() < 1e-6


def test_what_is_sent_is_as_long_as_its_price_and_reported(world: Path, tmp_path: Path) -> None:
    spy = Recorder()
    runs.run(one_phase(SPLIT), world, tmp_path / "run", lambda: spy)
    trips = fedsim.read_run(tmp_path / "run").trips
    priced = {(trip.round, trip.client): trip.price_upload_bytes for trip in trips.itertuples()}
    sent = {(task.round, one.client): one.upload_bytes for task, result in spy.results for one in result.clients}
    assert sent == priced
    assert min(sent.values()) > 0


def test_a_payload_of_another_length_stops_the_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Codec.encode
    monkeypatch.setattr(Codec, "encode", lambda *given: encode(*given) + b"\0")
    monkeypatch.setattr(Codec, "decode", lambda self, payload, layout: np.zeros(layout.size, np.float32))
    raw = one_phase({"x": {"kind": "fedavg", "upload": {"bits": 16}}})
    with pytest.raises(FedsimError, match=r"client \d sent \d+ bytes, its price says \d+"):
        runs.run(raw, world, tmp_path / "run")


def test_an_update_that_the_codec_cannot_express_is_a_named_failure(world: Path, tmp_path: Path) -> None:
    raw = one_phase({"x": {"kind": "fedavg", "upload": {"bits": 16}}}, optimizer={"kind": "sgd", "learning_rate": 1e9})
    raw["phases"]["finetune"]["local"]["max_batches"] = 1  # large numbers, which are finite for one step
    with pytest.raises(FedsimError, match=r"client \d.*do not fit into float16: use bfloat16"):
        runs.run(raw, world, tmp_path / "run")
    raw["methods"]["x"]["upload"]["half"] = "bfloat16"
    raw["phases"]["evaluate"] = None
    assert runs.run(raw, world, tmp_path / "again")["methods"]["x"]["clients_trained"] > 0


@pytest.fixture(scope="module")
def unbroken(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | None, str]]:
    return hashes(runs.run(small(SPLIT, **PERSONAL), world, tmp_path_factory.mktemp("codecs") / "run"))


def test_private_parts_and_codecs_give_the_same_bits_in_any_order(
    unbroken: dict[str, tuple[str | None, str]], world: Path, tmp_path: Path
) -> None:
    assert hashes(runs.run(small(SPLIT, **PERSONAL), world, tmp_path / "run", lambda: Shuffled(1))) == unbroken


def test_private_parts_and_codecs_give_the_same_bits_on_two_hosts_that_were_stopped(
    unbroken: dict[str, tuple[str | None, str]], world: Path, tmp_path: Path, pools: Pools
) -> None:
    def engine() -> Lent:
        return Lent(pools(2), str(tmp_path))

    with pytest.raises(Killed):
        runs.run(small(SPLIT, **PERSONAL), world, tmp_path / "run", lambda: Dying(engine(), 20))
    assert hashes(runs.resume(tmp_path / "run", engine)) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("results", [9, pytest.param(16, marks=pytest.mark.slow), 22])
def test_private_parts_and_codecs_give_the_same_bits_after_a_kill(
    unbroken: dict[str, tuple[str | None, str]], world: Path, tmp_path: Path, results: int
) -> None:
    with pytest.raises(Killed):
        runs.run(small(SPLIT, **PERSONAL), world, tmp_path / "run", partial(Dying, InlineEngine(), results))
    assert hashes(runs.resume(tmp_path / "run")) == unbroken
