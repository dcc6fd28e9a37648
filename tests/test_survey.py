from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim import survey as module
from fedsim.cost.memory import Polynomial
from fedsim.cost.parameters import local_size
from fedsim.model.architecture import LocalShape
from fedsim.observe.observer import Silent
from fedsim.scenario.participation import Participation
from fedsim.scenario.phases import Optimizer
from fedsim.scenario.schema import Scenario
from fedsim.simulation import Request, simulate
from fedsim.survey import Demand, Survey, survey
from fedsim.trace.reader import read_run
from tests.runs import pretend_memory


@pytest.fixture(autouse=True)
def quick_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring what training needs takes seconds a shape; three times the weights is as good here."""

    def memory(shape: LocalShape, optimizer: Optimizer) -> Polynomial:
        return Polynomial(constant=3 * local_size(shape).bytes, token=100)

    pretend_memory(monkeypatch, memory)


SIZES = {"hidden": 16, "layers": 4, "heads": 2, "feed_forward": 32, "max_positions": 24, "vocabulary": 300}


def scenario(clients: int = 30, methods: dict[str, Any] | None = None, **participation: Any) -> Scenario:
    part = {"clients_per_round": clients, **participation}
    fleet = {"clients": clients, "source": {"kind": "catalog", "devices": {"pi_4": 1, "phone_low": 2}}}
    return Scenario.model_validate(
        {
            "name": "x",
            "data": {"corpus": {"kind": "declared", "samples_per_client": 20, "tokens": 24}, "max_tokens": 24},
            "model": SIZES,
            "fleet": fleet,
            "phases": {
                "further_pretrain": {"rounds": 1, "participation": part},
                "finetune": {"rounds": 4, "participation": part},
            },
            "methods": methods or {"fedavg": {"kind": "fedavg"}, "fedbt": {"kind": "fedbt"}},
        }
    )


def look(asked: Scenario, most_clients: int = 1000) -> Survey:
    return survey(asked, Path(), most_clients, Silent())


def demand(found: Survey, method: str, phase: str) -> Demand:
    (one,) = (one for one in found.demands if (one.method, one.phase) == (method, phase))
    return one


def test_what_is_told_beforehand_is_what_a_run_books(tmp_path: Path) -> None:
    asked, methods = scenario(), ("fedavg", "fedbt")
    found = look(asked)
    simulate(Request(asked, Path(), tmp_path / "run", price=True), None, Silent())
    trips = read_run(tmp_path / "run").trips
    for method in methods:
        first = trips[(trips["method"] == method) & (trips["round"] == 0)].sort_values("client")
        one = demand(found, method, "further_pretrain")
        assert one.memory_bytes.tolist() == first["memory_bytes"].tolist()
        assert one.trip_s.tolist() == pytest.approx((first["end_s"] - first["start_s"]).tolist())
        assert one.able.all()
        assert set(one.round_s.tolist()) == {float(one.trip_s.max())}


def test_the_stages_of_a_phase_count_by_their_rounds() -> None:
    asked = scenario(methods={"one": {"kind": "fedbt"}, "all": {"kind": "fedavg"}})
    found = look(asked)
    # FedBT's fine-tuning trains other layers every round, and all layers in none of them
    light, full = demand(found, "one", "finetune"), demand(found, "all", "finetune")
    assert (light.memory_bytes <= full.memory_bytes).all()
    assert (light.trip_s < full.trip_s).all()
    assert [one.phase for one in found.demands] == ["further_pretrain", "finetune"] * 2


def test_large_fleets_are_sampled_by_the_seed() -> None:
    asked = scenario(5000, clients_per_round=20)
    found = look(asked, 50)
    assert len(found.fleet) == 5000
    assert len(np.unique(found.looked_at)) == 50
    assert np.array_equal(found.looked_at, look(asked, 50).looked_at)
    assert len(demand(found, "fedavg", "finetune").trip_s) == 50
    assert len(look(scenario(5000, clients_per_round=80), 50).looked_at) == 80, "a cohort must fit in"


def test_devices_without_the_memory_are_told_apart() -> None:
    asked = scenario()
    found = look(asked.model_copy(update={"model": asked.model.model_copy(update={"vocabulary": 5_000_000})}))
    one = demand(found, "fedavg", "finetune")
    names = np.array(found.fleet.devices)[found.fleet.device]
    assert np.array_equal(one.able, names == "pi_4")
    assert one.round_s.max() == one.trip_s[one.able].max()


def test_training_in_one_place_is_one_machine() -> None:
    found = look(scenario(methods={"central": {"kind": "centralized"}, "fedavg": {"kind": "fedavg"}}))
    one = demand(found, "central", "finetune")
    assert one.central
    assert one.trip_s.shape == one.memory_bytes.shape == one.round_s.shape == (1,)
    assert not demand(found, "fedavg", "finetune").central


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"clients_per_round": 4}, {4.0}),  # everybody but the one without the memory
        ({"clients_per_round": 3, "over_selection": 5 / 3}, {3.0}),
        ({"clients_per_round": 5}, {4.0}),
        ({"clients_per_round": 5, "deadline_s": 9.0}, {9.0}),  # the fifth never comes
        ({"clients_per_round": 4, "over_selection": 1.25, "deadline_s": 9.0}, {4.0}),
        ({"clients_per_round": 4, "over_selection": 1.25, "deadline_s": 3.5}, {3.5}),
        ({"clients_per_round": 1}, {0.0, 1.0, 2.0, 3.0, 4.0}),
        ({"clients_per_round": 2, "cohorts": [[0, 1, 2, 3, 4]]}, {4.0}),
    ],
)
def test_rounds_close_as_in_a_run(part: dict[str, Any], expected: set[float]) -> None:
    trips, able = np.array([1.0, 2.0, 3.0, 4.0, 1.0]), np.array([True, True, True, True, False])
    if part == {"clients_per_round": 4}:
        trips, able = trips[:4], able[:4]
    found = module._rounds(trips, able, Participation.model_validate(part), seed=1)
    assert set(found.tolist()) == expected
    assert len(found) == module.ROUNDS


def test_nobody_able_is_a_round_of_no_time() -> None:
    part = Participation(clients_per_round=1, deadline_s=5.0)
    assert set(module._rounds(np.ones(3), np.zeros(3, np.bool_), part, 1).tolist()) == {0.0}
