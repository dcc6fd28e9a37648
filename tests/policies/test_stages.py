"""Updates that were begun in one stage and come back in another."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedsim
from fedsim.engine.tasks import IMPORTANCE, TrainBlock
from tests import runs
from tests.policies.worlds import devices
from tests.runs import Blocks, rows, small

LAYERS = 4
REPLACED: dict[str, set[str]] = {
    "progfed": {"head"},  # every stage has a head of its own
    "fedbt": set(),
    "freezing": set(),
    "stacking": set(),  # copies go to layers that nobody has trained before
    "head_pruning": {f"layer.{i}" for i in range(LAYERS)},  # which have other shapes from then on
}
"""Groups that are not what they were when the next stage begins."""
POLICIES: dict[str, dict[str, Any]] = {
    "buffered": {"kind": "buffered", "concurrency": 5},
    "tiered": {"kind": "tiered", "tiers": 2},
}


def staged(method: str, policy: str, older: str, folder: Path) -> dict[str, Any]:
    """A phase of six rounds, in which slow clients meet later stages."""
    phase, other = ("further_pretrain", "finetune") if method == "stacking" else ("finetune", "further_pretrain")
    devices(folder, [1.0, 2.5, 1.2, 4.0, 1.1, 3.0, 1.3, 6.0])
    part = {"clients_per_round": 2, "policy": {**POLICIES[policy], "older_stage": older}}
    raw = small({method: {}}, fleet__source={"kind": "file", "path": "fleet.csv"}, engine__block_clients=1)
    del raw["phases"][other], raw["phases"]["pretrain"], raw["data"]["central_fraction"]
    raw["phases"][phase] |= {"participation": part, "rounds": 6}
    return raw


def trained(text: str) -> set[str]:
    """Groups that a stage trains, from what the trace says of it."""
    if text.startswith("full model"):
        return {"embeddings", "head", *(f"layer.{i}" for i in range(LAYERS))}
    found = set[str]()
    for part in text.split(", "):
        kind, _, span = part.partition(" ")
        first, _, last = span.partition("-")
        found |= {f"layer.{i}" for i in range(int(first), int(last or first) + 1)} if span else {kind}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "policy"),
    [
        *((method, "buffered") for method in REPLACED),
        ("progfed", "tiered"),
        *(pytest.param(method, "tiered", marks=pytest.mark.slow) for method in REPLACED if method != "progfed"),
    ],
)
def test_mapped_updates_count_where_both_stages_train(method: str, policy: str, world: Path, tmp_path: Path) -> None:
    blocks: list[TrainBlock] = []
    runs.run(staged(method, policy, "map", world), world, tmp_path / "run", lambda: Blocks(blocks))
    run, older = fedsim.read_run(tmp_path / "run"), 0
    stages = {row.stage: trained(row.trained) for row in rows(run.stages)}
    present = dict(zip(run.rounds["round"], run.rounds.stage, strict=True))
    for block in blocks:
        (work,) = block.clients
        now, sent = present[block.round], stages[block.stage]
        wanted = sent if block.stage == now else (sent & stages[now]) - REPLACED[method]
        assert {name for name, share in work.shares.items() if share and name != IMPORTANCE} == wanted
        assert work.shares.keys() - {IMPORTANCE} == sent
        older += block.stage < now
    assert older > 0
    changed = {row.round: set(row.trained_groups.split()) for row in rows(run.rounds)}
    for round_, names in changed.items():
        counted = [b.clients[0].shares for b in blocks if b.round == round_]
        assert names == {name for own in counted for name, share in own.items() if share and name != IMPORTANCE}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "method", ["progfed", *(pytest.param(n, marks=pytest.mark.slow) for n in ("stacking", "fedbt"))]
)
def test_discarded_updates_are_paid_for_and_wasted(method: str, policy: str, world: Path, tmp_path: Path) -> None:
    runs.run(staged(method, policy, "discard", world), world, tmp_path / "run", None)
    run = fedsim.read_run(tmp_path / "run")
    trips, stage = run.trips, dict(zip(run.rounds["round"], run.rounds.stage, strict=True))
    begun = (trips["round"] - trips.staleness).map(stage)
    back = trips.outcome.isin(["completed", "unused"])
    older = back & (begun < trips.stage)
    assert older.any()
    last = trips["round"] == trips["round"].max()  # tiers that are recalled when the phase ends are unused, too
    assert (trips.outcome[older] == "unused").all()
    assert (trips.outcome[back & ~older & ~last] == "completed").all()
    unused = trips[older]
    assert (unused.upload_bytes == unused.price_upload_bytes).all()
    assert (unused.flops_backward == unused.price_flops_backward).all()
    assert not unused.useful.any()
    assert (unused.weight == 0).all()
    wasted = trips[~trips.useful].groupby("round").upload_bytes.sum().reindex(run.rounds["round"], fill_value=0)
    pd.testing.assert_series_equal(wasted, run.rounds.set_index("round").wasted_upload_bytes, check_names=False)


def test_an_update_may_be_too_old(world: Path, tmp_path: Path) -> None:
    raw = staged("fedbt", "buffered", "map", world)
    raw["phases"]["finetune"]["participation"]["policy"]["max_staleness"] = 1
    runs.run(raw, world, tmp_path / "run", None)
    trips = fedsim.read_run(tmp_path / "run").trips
    back = trips[trips.outcome.isin(["completed", "unused"])]
    assert ((back.staleness > 1) == (back.outcome == "unused")).all()
    assert {"completed", "unused"} <= set(back.outcome)
