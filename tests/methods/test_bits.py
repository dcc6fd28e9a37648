"""Methods that keep something on the server or on clients: the same bits inline, on hosts, and after a kill."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fedsim.engine.inline import InlineEngine
from tests import runs
from tests.runs import Dying, Killed, Lent, hashes, small

from ..test_same_bits import Hashes, Pools

METHODS: dict[str, dict[str, Any]] = {
    "progfed": {
        "further_pretrain": {"stages": 2, "new_blocks": "random"},
        "finetune": {"stages": 2, "warmup_rounds": 1},
        "optimizer_state": "keep",
    },
    "stacking": {"depths": [2, 4], "stage_rounds": [1, 1], "optimizer_state": "keep", "client_optimizer": "keep"},
    "heterofl": {
        "rates": [0.5, 1.0],
        "window": "rolling",
        "roll_units": 8,
        "assignment": {"by": "shares"},
    },
    # measured in the second round of fine-tuning, pruned in the third
    "head_pruning": {"after_rounds": 2, "threshold": 0.75, "optimizer_state": "keep"},
    "nested": {"kind": "heterofl", "rates": [0.5, 1.0], "optimizer_state": "keep", "assignment": {"by": "shares"}},
    "fedbert": {
        **{"kind": "fedbert", "server_body": "replica_private", "client_part_sync_every": 2},
        **{"optimizer_state": "keep", "cut": "int8"},
    },
    "fedopt": {"kind": "fedbt", "server": {"kind": "fedyogi", "learning_rate": 0.01, "bias_correction": True}},
    "depthfl": {"depths": [1, 2, 4], "assignment": {"by": "speed"}, "optimizer_state": "keep"},
    "lora": {"rank": 2, "aggregation": "product_svd", "dropout": 0.1},
    "ffa": {"kind": "lora", "rank": 2, "aggregation": "freeze_a", "server": {"kind": "fedadam"}},
    "fedprox": {"kind": "fedprox", "mu": 0.1, "late": "partial", "optimizer_state": "keep"},
}


PLAIN: dict[str, dict[str, Any]] = {
    "scaffold": {"server": {"kind": "sgd", "learning_rate": 0.5}},
}
"""Methods for plain SGD."""
SGD = {"optimizer": {"kind": "sgd", "learning_rate": 0.05}}


def raw(methods: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found = small(methods, phases__pretrain=None, phases__further_pretrain__rounds=2, phases__finetune__rounds=3)
    if methods is PLAIN:
        for phase in ("further_pretrain", "finetune"):
            found["phases"][phase]["local"] = SGD
    return found


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Summaries of every method, in this process, from start to end."""
    folder = tmp_path_factory.mktemp("unbroken")
    summaries = [runs.run(raw(methods), world, folder / str(len(methods))) for methods in (METHODS, PLAIN)]
    return {name: summary for run in summaries for name, summary in run["methods"].items()}


@pytest.fixture(scope="module")
def unbroken(ended: dict[str, Any]) -> Hashes:
    found = hashes({"methods": ended})
    assert len({weights for weights, _ in found.values()}) == len(METHODS | PLAIN)
    return found


@pytest.mark.parametrize("method", ["fedopt", "depthfl", "lora", "ffa", "fedprox", "scaffold"])
def test_a_price_is_the_same_without_training(ended: dict[str, Any], world: Path, tmp_path: Path, method: str) -> None:
    methods = METHODS if method in METHODS else PLAIN
    found = runs.run(raw(methods), world, tmp_path / "price", None, methods=[method])["methods"][method]
    trained = {"quality", "weights_sha256", "trace_sha256"}
    assert {name: found[name] for name in found.keys() - trained} == {
        name: value for name, value in ended[method].items() if name not in trained
    }


@pytest.mark.slow
@pytest.mark.parametrize("methods", [METHODS, PLAIN], ids=["any optimizer", "plain SGD"])
def test_on_two_hosts(
    unbroken: Hashes, world: Path, tmp_path: Path, pools: Pools, methods: dict[str, dict[str, Any]]
) -> None:
    engine = partial(lambda hosts, out: Lent(pools(hosts), str(out)), 2, tmp_path)
    found = hashes(runs.run(raw(methods), world, tmp_path / "run", engine))
    assert found == {name: unbroken[name] for name in methods}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS | PLAIN)
def test_killed_and_resumed(unbroken: Hashes, world: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "run"
    methods = METHODS if method in METHODS else PLAIN
    with pytest.raises(Killed):
        runs.run(raw(methods), world, out, lambda: Dying(InlineEngine(), 10), methods=[method])
    with pytest.raises(Killed):
        runs.resume(out, lambda: Dying(InlineEngine(), 8))
    assert hashes(runs.resume(out)) == {method: unbroken[method]}
