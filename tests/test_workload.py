"""Work and prices of a cohort at once, against those of one client after the other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim import rng, workload
from fedsim.cohorts import Cohorts
from fedsim.cost.price import Prices, price
from fedsim.data.batches import as_work, measure
from fedsim.data.work import IntArray
from fedsim.model.architecture import LocalShape
from fedsim.observe.observer import Silent
from fedsim.phases import prepare
from fedsim.plan_costs import PlanCosts
from fedsim.plan_costs import measure as measure_plans
from fedsim.rounds import Cohort, Turn
from fedsim.scenario.schema import Scenario
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.world import build
from tests import runs

PRICES = ("download_bytes", "upload_bytes", "flops_forward", "flops_backward", "memory_bytes")


def declared(
    samples: int | list[int] | dict[str, Any], clients: int, method: dict[str, Any], **phase: Any
) -> dict[str, Any]:
    """A scenario of one phase over data without text."""
    raw = runs.small({"one": method}, phases__finetune=None, phases__pretrain=None, fleet__clients=clients)
    raw["data"] = {"corpus": {"kind": "declared", "samples_per_client": samples, "tokens": 20}, "max_tokens": 24}
    raw["model"]["vocabulary"] = 300
    raw["phases"]["further_pretrain"] |= phase
    return raw


def cohorts(raw: dict[str, Any], folder: Path) -> Cohorts:
    scenario = Scenario.model_validate(raw)
    world = build(scenario, folder, folder, Silent())
    prepared = prepare(world, "one")
    return Cohorts(prepared, world, measure_plans([prepared], None, Silent()))


def turn(of: Cohorts, round_: int = 0) -> Turn:
    phase = of.prepared.phases[0]
    return Turn(phase, 0, phase.stages[0], 0, 0, round_)


def pick(of: Cohorts, at: Turn) -> Cohort:
    model = GlobalModel(of.prepared.layouts(at.phase, at.stage), {})
    part, seed = at.phase.config.participation, of.world.scenario.seed
    draw = rng.stream(seed, "cohort", at.phase.name, at.phase_round)
    drawn = draw.choice(of.world.scenario.fleet.clients, part.cohort_clients, replace=False)
    clients = np.sort(drawn) if part.cohorts is None else np.array(part.cohorts[at.phase_round])
    return of.price(at, clients, model, Pools(of.world.scenario.fleet.clients, len(model.names)))


SIZES = st.lists(st.integers(1, 40), min_size=12, max_size=12)
LOCAL = st.fixed_dictionaries(
    {"batch_samples": st.integers(1, 16), "epochs": st.integers(1, 3), "max_batches": st.none() | st.integers(1, 4)}
)
CURRICULUM = st.sampled_from([None, [{"rounds": 3, "frequent_words": 0.5}]])


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, local=LOCAL, curriculum=CURRICULUM, pool=st.sampled_from(["full", "needed"]))
def test_prices_of_a_cohort_are_those_of_its_members(
    sizes: list[int],
    local: dict[str, Any],
    curriculum: list[dict[str, Any]] | None,
    pool: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    method = {"kind": "fedbt", "pool": pool}
    of = cohorts(declared(sizes, 12, method, local=local, curriculum=curriculum), tmp_path_factory.getbasetemp())
    at = turn(of)
    cohort, plan = pick(of, at), at.stage.plans[0]
    cost = of.costs.of(at, plan, LocalShape.of(of.prepared.architecture, at.goal.head, plan))
    names = tuple(of.prepared.layouts(at.phase, at.stage))
    group_bytes = GlobalModel(of.prepared.layouts(at.phase, at.stage), {}).bytes()
    for member, client in enumerate(cohort.clients.tolist()):
        batched = of.workload.batches(at, client)
        work = as_work(measure(*batched)[None])
        kept = set(names) if pool == "full" else plan.downloaded(cohort.slots[member])
        down = np.array([sum(int(b) for name, b in zip(names, group_bytes, strict=True) if name in kept)])
        assert len(batched[0]) == cohort.sizes[member]
        assert _row(price(cost, work, down), 0) == _row(cohort.prices, member)


def _row(prices: Prices, member: int) -> list[int]:
    return [int(getattr(prices, name)[member]) for name in PRICES]


def test_what_is_computed_does_not_grow_with_fleet_or_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are looked at once for each number of samples, costs once for each plan."""
    calls: dict[str, list[int]] = {"measure": [], "costs": []}

    def counted(*of: Any) -> IntArray:
        calls["measure"].append(len(of[0]))
        return measure(*of)

    def costs(self: PlanCosts, *of: Any, own: Any = PlanCosts.of) -> Any:
        calls["costs"].append(1)
        return own(self, *of)

    monkeypatch.setattr(workload, "measure", counted)
    monkeypatch.setattr(PlanCosts, "of", costs)
    for clients, size in ((300, 10), (30_000, 1_000)):
        sizes = np.tile([3, 5, 8], clients // 3).tolist()
        part = {"clients_per_round": size, "over_selection": 1.0}
        of = cohorts(declared(sizes, clients, {"kind": "fedbt"}, participation=part), tmp_path)
        for round_ in range(2):
            assert len(pick(of, turn(of, round_)).clients) == size
    assert sorted(calls["measure"]) == [3, 3, 5, 5, 8, 8]
    assert len(calls["costs"]) == 2


def test_a_client_in_a_larger_fleet_has_the_same_layers_and_work(tmp_path: Path) -> None:
    listed = [[4, 7, 11]] * 3
    part = {"clients_per_round": 3, "over_selection": 1.0, "cohorts": listed}
    few, many = (
        pick(of := cohorts(declared(9, clients, {"kind": "fedbt"}, participation=part), tmp_path), turn(of, 2))
        for clients in (12, 5_000)
    )
    assert few.slots.texts().to_pylist() == many.slots.texts().to_pylist()
    assert few.work.tokens.tolist() == many.work.tokens.tolist()
    assert few.prices.download_bytes.tolist() == many.prices.download_bytes.tolist()
