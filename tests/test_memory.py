"""Memory follows the cohort: flat over rounds, and next to nothing for a client that is only registered."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import psutil
import pytest

from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.observe.observer import RoundReport, Silent
from tests import runs
from tests.runs import METHODS, Lent, small

MB = 1_000_000
Result = TypeVar("Result")
pytestmark = pytest.mark.slow


def alone(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a process of its own, started anew, whose memory is nobody else's."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class Scale(Silent):
    """Weighs something after every round."""

    def __init__(self, weigh: Callable[[], int]) -> None:
        self._weigh = weigh
        self.bytes: list[int] = []

    def round(self, report: RoundReport) -> None:
        self.bytes.append(self._weigh())


def many_rounds(methods: tuple[str, ...], rounds: int, **changes: Any) -> dict[str, Any]:
    return small(
        {name: METHODS[name] for name in methods},
        phases__finetune=None,
        phases__pretrain=None,
        phases__further_pretrain__rounds=rounds,
        phases__further_pretrain__participation={"clients_per_round": 2},
        **changes,
    )


def driver_rss(world: Path, out: Path, rounds: int) -> list[int]:
    """Resident bytes of a process that trains inline, after every round."""
    scale = Scale(lambda: psutil.Process().memory_info().rss)
    runs.run(many_rounds(("kept",), rounds), world, out, observer=scale)
    return scale.bytes


def test_a_driver_does_not_grow(world: Path, tmp_path: Path) -> None:
    after = alone(driver_rss, world, tmp_path / "run", 200)
    assert len(after) == 200
    assert after[199] - after[49] < 20 * MB
    # states of clients: at most two for each of them, whatever the number of rounds
    assert len(list((tmp_path / "run" / "clients").rglob("*.safetensors"))) <= 2 * runs.CLIENTS


def test_the_object_store_and_the_hosts_do_not_grow(
    world: Path, tmp_path: Path, pools: Callable[[int], RayEngine]
) -> None:
    """A model of 1 MB, of which every round makes a new version."""
    import ray
    from ray._private.internal_api import node_stats

    engine = pools(2)
    hosts = [psutil.Process(process) for process in engine.processes()]
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    address = node["NodeManagerAddress"], node["NodeManagerPort"]

    def stored_bytes() -> int:
        return int(node_stats(*address).store_stats.object_store_bytes_used)  # type: ignore[no-untyped-call]

    before = stored_bytes()
    rounds, every = 120, 30
    weights: list[tuple[int, int]] = []

    class Scales(Silent):
        def round(self, report: RoundReport) -> None:
            if report.round % every == 0:
                time.sleep(2)  # Ray frees objects once a second
                weights.append((stored_bytes(), sum(host.memory_full_info().uss for host in hosts)))

    larger = {"hidden": 96, "layers": 2, "heads": 2, "feed_forward": 384, "max_positions": 24}
    raw = many_rounds(("fedavg",), rounds, model=larger, phases__evaluate=None)
    summary = runs.run(raw, world, tmp_path / "run", lambda: Lent(engine, str(tmp_path)), observer=Scales())
    model = summary["methods"]["fedavg"]["upload_bytes"] / (2 * rounds)
    assert model > MB
    stored, own = zip(*weights, strict=True)
    assert len(stored) == rounds // every
    # the model itself, and the last round's sums at most
    assert max(stored) - before < 4 * model
    assert own[-1] - own[1] < 15 * MB  # heaps find their size in the first rounds


def peak_rss(raw: dict[str, Any], base: Path, out: Path, train: bool) -> int:
    """Highest number of resident bytes of a process that runs this scenario."""
    runs.run(raw, base, out, InlineEngine if train else None)
    # not from getrusage, which remembers the parent's peak
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def declared(clients: int) -> dict[str, Any]:
    raw = many_rounds(("fedbt",), 3, fleet__clients=clients, phases__evaluate=None)
    raw["data"] = {
        "corpus": {"kind": "declared", "samples_per_client": 8, "tokens": 20},
        "max_tokens": 20,
    }
    raw["model"]["vocabulary"] = 300
    return raw


def tokenised(clients: int) -> dict[str, Any]:
    raw = many_rounds(("fedbt",), 3, fleet__clients=clients)
    raw["data"] = {
        "corpus": {"kind": "files", "train": ["many.parquet"], "tokenised": True},
        "partition": {"kind": "quantity", "sigma": 1.0},
        "max_tokens": 20,
    }
    return raw


def write_many(folder: Path) -> None:
    """Samples for a hundred thousand clients, two tokens each and one of them to predict."""
    draw = np.random.default_rng(2)
    ids = draw.integers(1, 300, (120_000, 3))
    frame = pd.DataFrame({"input_ids": list(ids), "labels": list(np.where([True, False, False], ids, -100))})
    frame.to_parquet(folder / "many.parquet")


def more(scenario: Callable[[int], dict[str, Any]], base: Path, train: bool) -> int:
    """Bytes that a hundred thousand registered clients cost more than a thousand."""
    few, many = (alone(peak_rss, scenario(clients), base, base / str(clients), train) for clients in (1_000, 100_000))
    return many - few


def test_a_hundred_thousand_clients_in_price_mode(tmp_path: Path) -> None:
    assert more(declared, tmp_path, train=False) < 50 * MB


def test_a_hundred_thousand_clients_in_training(tmp_path: Path) -> None:
    write_many(tmp_path)
    runs.run(tokenised(1_000), tmp_path, tmp_path / "prepared", engine=None)
    assert more(tokenised, tmp_path, train=True) < 50 * MB
