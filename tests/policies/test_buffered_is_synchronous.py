"""FedBuff, where the server waits for everybody who is under way, is the synchronous method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedsim
from fedsim import Run
from tests import runs
from tests.policies.worlds import KINDS
from tests.runs import CLIENTS, small

METHODS: Mapping[str, Mapping[str, Any]] = {
    "uniform": {"kind": "fedavg", "weighting": "uniform"},
    **{name: KINDS[name] for name in ("kept", "fedbt", "adam")},
}
pytestmark = pytest.mark.slow
EVERYBODY = {"clients_per_round": CLIENTS}


def played(world: Path, out: Path, participation: Mapping[str, Any]) -> tuple[dict[str, str], Run]:
    raw = small(
        METHODS,
        phases__further_pretrain__participation=participation,
        phases__finetune__participation=participation,
    )
    summary = runs.run(raw, world, out)
    return {name: method["weights_sha256"] for name, method in summary["methods"].items()}, fedsim.read_run(out)


@pytest.fixture(scope="module")
def synchronous(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Run]:
    return played(world, tmp_path_factory.mktemp("synchronous") / "run", EVERYBODY)


def test_with_everybody_under_way_and_in_every_step_it_has_the_same_bits(
    synchronous: tuple[dict[str, str], Run], world: Path, tmp_path: Path
) -> None:
    buffered = {"kind": "buffered", "concurrency": CLIENTS, "staleness_exponent": 2.0}
    weights, run = played(world, tmp_path / "run", EVERYBODY | {"policy": buffered})
    expected, theirs = synchronous
    assert weights == expected
    assert set(run.trips["staleness"]) == {0}
    assert len(set(weights.values())) == len(METHODS)
    pd.testing.assert_frame_equal(run.trips, theirs.trips)
    for table in ("rounds", "evals", "stages"):
        pd.testing.assert_frame_equal(getattr(run, table), getattr(theirs, table))


def test_with_fewer_updates_a_step_it_is_another_method(
    synchronous: tuple[dict[str, str], Run], world: Path, tmp_path: Path
) -> None:
    buffered = {"kind": "buffered", "concurrency": CLIENTS}
    weights, run = played(world, tmp_path / "run", {"clients_per_round": 3, "policy": buffered})
    assert run.trips["staleness"].max() > 0
    assert not set(weights.values()) & set(synchronous[0].values())
