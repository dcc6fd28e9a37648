"""SCAFFOLD against a plain loop, against FedAvg where both are the same, and what it costs."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsim import read_run
from fedsim.plan import CONTROL
from fedsim.scenario.load import load
from fedsim.store.client_state import ClientStore
from tests import runs

from ..test_fedavg_is_fedavg import TINY, Workload, distance, one_thread, trained
from .states import arrays

assert one_thread  # a fixture of that module that applies here, too
RATE = 0.1


def plain(workload: Workload, rounds: int) -> tuple[nn.Module, dict[int, list[Tensor]], list[Tensor]]:
    """Algorithm 1 with option II, eta_g = 1, written down as it stands: model, each c_i, and c."""
    x = workload.model()
    zeros = [torch.zeros_like(p) for p in x.parameters()]
    own = dict.fromkeys(range(workload.clients), zeros)
    server = zeros
    for cohort in workload.cohorts()[:rounds]:
        moved, changed = [], []
        for client in cohort:
            y = deepcopy(x).train()
            batches = workload.batches(client)
            for ids, labels in batches:
                y.zero_grad()
                y(input_ids=ids, labels=labels).loss.backward()
                with torch.no_grad():
                    for p, c, c_i in zip(y.parameters(), server, own[client], strict=True):
                        assert p.grad is not None
                        p -= RATE * (p.grad - c_i + c)
            with torch.no_grad():
                new = [
                    c_i - c + (p0 - p) / (len(batches) * RATE)
                    for p, p0, c, c_i in zip(y.parameters(), x.parameters(), server, own[client], strict=True)
                ]
                moved.append([p - p0 for p, p0 in zip(y.parameters(), x.parameters(), strict=True)])
            changed.append([after - before for after, before in zip(new, own[client], strict=True)])
            own[client] = new
        with torch.no_grad():
            for p, *deltas in zip(x.parameters(), *moved, strict=True):
                p += torch.stack(deltas).mean(0)
        server = [c + sum(deltas) / workload.clients for c, *deltas in zip(server, *changed, strict=True)]
    return x, own, server


@pytest.mark.slow
def test_three_rounds_of_the_algorithm(tmp_path: Path) -> None:
    raw = TINY.write(tmp_path)
    raw["methods"] = {"scaffold": {}, "fedavg": {}}
    runs.run(raw, tmp_path, tmp_path / "run")
    start, (wanted, own, server) = TINY.model(), plain(TINY, 3)
    found = trained(tmp_path / "run", "scaffold")
    assert distance(found, wanted, start) < 1e-5
    assert distance(found, trained(tmp_path / "run", "fedavg"), start) > 1e-3
    state = arrays(tmp_path / "run", "scaffold", "server")
    assert {name for name in state if name.startswith(CONTROL)} == set(state)
    # weights and variates have the same shapes, and together are what a client was to send
    sent = b"".join(v.tobytes() for v in (*arrays(tmp_path / "run", "scaffold", "group").values(), *state.values()))
    assert (read_run(tmp_path / "run").trips.query("method == 'scaffold'").upload_bytes == len(sent)).all()
    norm = torch.cat([c.flatten() for c in server]).norm().item()
    assert np.linalg.norm(np.concatenate(list(state.values()))) == pytest.approx(norm, rel=1e-4)
    last = TINY.cohorts()[2][0]
    kept = ClientStore(tmp_path / "run" / "clients" / "scaffold").read(last, 2)
    assert kept is not None
    norm = torch.cat([c.flatten() for c in own[last]]).norm().item()
    assert np.linalg.norm(np.concatenate([kept[name].ravel() for name in state])) == pytest.approx(norm, rel=1e-4)


def test_the_servers_variate_is_the_mean_of_the_clients(tmp_path: Path) -> None:
    raw = TINY.write(tmp_path)
    raw["methods"] = {"scaffold": {}}
    runs.run(raw, tmp_path, tmp_path / "run")
    state = arrays(tmp_path / "run", "scaffold", "server")
    store = ClientStore(tmp_path / "run" / "clients" / "scaffold")
    newest = {client: round_ for round_, cohort in enumerate(TINY.cohorts()) for client in cohort}
    total = {name: np.zeros(values.shape) for name, values in state.items()}
    for client, round_ in newest.items():
        kept = store.read(client, round_)
        assert kept is not None
        for name in state:
            total[name] += kept[name]
    for name, values in state.items():
        assert np.abs(values - total[name] / TINY.clients).max() < 1e-6
        assert np.abs(values).max() > 0


def test_with_one_client_in_all_it_is_fedavg_to_the_last_bit(tmp_path: Path) -> None:
    """c and c_i are the same then, and correct nothing."""
    alone = Workload(clients=1, cohort=1, samples=7, batch=3, length=16, vocabulary=120, hidden=16)
    raw = alone.write(tmp_path)
    raw["methods"] = {"scaffold": {}, "fedavg": {}}
    found = runs.run(raw, tmp_path, tmp_path / "run")["methods"]
    assert found["scaffold"]["weights_sha256"] == found["fedavg"]["weights_sha256"]
    assert any(np.abs(values).max() > 0 for values in arrays(tmp_path / "run", "scaffold", "server").values())


def test_twice_the_bytes_each_way_and_one_more_vector_of_memory(tmp_path: Path) -> None:
    raw = TINY.write(tmp_path)
    raw["methods"] = {"scaffold": {}, "fedavg": {}}
    found = runs.run(raw, tmp_path, tmp_path / "run", None)["methods"]
    for name in ("upload_bytes", "download_bytes"):
        assert found["scaffold"][name] == 2 * found["fedavg"][name] > 0
    for name in ("flops_forward", "flops_backward"):
        assert found["scaffold"][name] == found["fedavg"][name]
    run = read_run(tmp_path / "run")
    stages = run.stages.astype({"method": str}).set_index("method").loc[["scaffold", "fedavg"]]
    size = int(stages.parameters_trained.iloc[0])
    assert stages.parameters_sent.tolist() == [2 * size, size]
    assert stages.upload_bytes_per_client.tolist() == [8 * size, 4 * size]
    assert stages.download_bytes_per_client.tolist() == [8 * size, 4 * size]
    assert stages.memory_bytes.iloc[0] - stages.memory_bytes.iloc[1] == 4 * size
    uploads = run.trips.astype({"method": str}).groupby("method").upload_bytes.max()
    assert uploads["scaffold"] == 8 * size


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ("{optimizer: {kind: adamw}}", "methods.scaffold: needs plain SGD: set phases.finetune.local.optimizer"),
        ("{optimizer: {kind: sgd, momentum: 0.9}}", "methods.scaffold: needs plain SGD"),
        (
            "{optimizer: {kind: sgd}, clip_norm: 1.0}",
            "methods.scaffold: needs gradients as they are",
        ),
    ],
)
def test_it_needs_plain_sgd(local: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    phase = f"{{rounds: 1, participation: {{clients_per_round: 2}}, local: {local}}}"
    file.write_text(f"name: x\nfleet: {{clients: 5}}\nmethods: {{scaffold: }}\nphases: {{finetune: {phase}}}\n")
    with pytest.raises(Exception, match=message):
        load(file)


@pytest.mark.slow
def test_a_new_phase_knows_nothing_of_the_one_before(world: Path, tmp_path: Path) -> None:
    """Its first round is that of a run in which the phase before it had no control variates: FedAvg's."""
    sgd = {"optimizer": {"kind": "sgd", "learning_rate": 0.05}}
    changes: dict[str, Any] = {"phases__pretrain": None, "phases__evaluate": None, "phases__finetune__rounds": 1}
    raw = runs.small({"scaffold": {}, "fedavg": {"weighting": "uniform"}}, **changes)
    for phase in ("further_pretrain", "finetune"):
        raw["phases"][phase]["local"] = sgd
        raw["phases"][phase]["rounds"] = 1
        # twice the bytes take longer: nobody may come too late for that
        raw["phases"][phase]["participation"] = {"clients_per_round": 4}
    found = runs.hashes(runs.run(raw, world, tmp_path / "run"))
    assert found["scaffold"][0] == found["fedavg"][0]
    raw["phases"]["further_pretrain"]["rounds"] = 2
    longer = runs.hashes(runs.run(raw, world, tmp_path / "longer"))
    assert longer["scaffold"][0] != longer["fedavg"][0]
