"""A client that fails is named, costs what it has spent, and leaves no mark on the model."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import fedsim
from fedsim import cli
from fedsim.engine.host import Host
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import ClientWork, TrainBlock
from fedsim.errors import ClientError, FedsimError
from fedsim.model.local import Batch, LocalModel
from fedsim.model.part import Weights
from fedsim.observe.observer import Silent
from fedsim.store.atomic import Array
from fedsim.store.checkpoint import load_latest
from fedsim.training.update import Update
from tests import runs
from tests.runs import CLIENTS, METHODS, Lent, hashes, small

BAD = 4
COHORTS = [[0, 1, BAD, 6], [2, 3, 5, 7], [1, BAD, 5, 6]]
Sabotage = Callable[[str], None]
Loss = Callable[[Batch], torch.Tensor]
Trained = tuple[Update, Weights]


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Sabotage:
    """Let one client fail in every round from the third on: it raises, or its update has a NaN or an infinity."""
    honest = Host._client

    def start(how: str) -> None:
        def client(host: Host, model: LocalModel, task: TrainBlock, work: ClientWork, loss_of: Loss) -> Trained:
            bad = work.client == BAD and task.round >= 2
            if bad and how == "raises":
                raise RuntimeError("the disk of this phone is full")
            trained = honest(host, model, task, work, loss_of)
            if bad:
                last = list(model.trained.values())[-1]
                last.flat[-1] = {"nan": math.nan, "inf": math.inf}[how]
            return trained

        monkeypatch.setattr(Host, "_client", client)

    return start


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def raw(method: str, cohorts: list[list[int]], **changes: Any) -> dict[str, Any]:
    changed = small(
        {method: METHODS[method]},
        phases__finetune=None,
        phases__further_pretrain__participation={"clients_per_round": 4, "cohorts": cohorts},
        **changes,
    )
    return changed


def final(out: Path, method: str) -> dict[str, Array]:
    state = load_latest(out / "checkpoints" / method)
    assert state is not None
    assert state.round == 3
    return {name: array for name, array in state.arrays.items() if name.startswith("group/")}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raises", "nan", "inf"])
@pytest.mark.parametrize("method", ["fedavg", "kept", "everything"])
@pytest.mark.parametrize("block_clients", [1, 4])
def test_the_average_is_over_the_others(
    world: Path, tmp_path: Path, sabotage: Sabotage, how: str, method: str, block_clients: int
) -> None:
    sabotage(how)
    notes = Notes()
    allowed = {"engine__max_failed_fraction": 0.25} if how == "raises" else {}
    broken = raw(method, COHORTS, engine__block_clients=block_clients, **allowed)
    runs.run(broken, world, tmp_path / "broken", observer=notes)
    without = [*COHORTS[:2], [client for client in COHORTS[2] if client != BAD]]
    runs.run(raw(method, without, engine__block_clients=block_clients), world, tmp_path / "without")
    found, wanted = final(tmp_path / "broken", method), final(tmp_path / "without", method)
    for name, values in found.items():
        assert np.isfinite(values).all()
        assert np.abs(values - wanted[name]).max() < 1e-6, name

    status, cause = ("failed", "the disk of this phone is full") if how == "raises" else ("rejected", "not finite")
    run, other = fedsim.read_run(tmp_path / "broken"), fedsim.read_run(tmp_path / "without")
    trips = run.trips[run.trips["round"] == 2].set_index("client")
    assert trips.outcome.to_dict() == dict.fromkeys(without[2], "completed") | {BAD: status}
    assert trips.weight[BAD] == 0
    assert not trips.useful[BAD]
    assert math.fsum(trips.weight) == pytest.approx(1, abs=1e-12)
    expected = other.trips[other.trips["round"] == 2].set_index("client").weight
    assert trips.weight[without[2]].to_numpy() == pytest.approx(expected[without[2]].to_numpy(), rel=1e-12)
    # it has been paid for, and was wasted
    closing = run.rounds.iloc[2]
    assert closing[status] == 1
    assert closing.wasted_upload_bytes == trips.upload_bytes[BAD] == trips.price_upload_bytes[BAD] > 0
    assert closing.loss == pytest.approx(math.fsum(trips.weight[without[2]] * trips.loss[without[2]]), rel=1e-12)

    (told,) = [text for text in notes.texts if f"client {BAD} failed" in text]
    stage = 1 if method == "everything" else 0
    assert re.match(rf"client {BAD} failed in {method}, stage {stage}, round 2: .*{cause}", told)
    (event,) = run.events[run.events.kind == status].itertuples()
    assert (event.text, event.round, event.method) == (told, 2, method)


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [0.0, 0.24])
def test_too_many_failures_end_the_run_and_it_can_be_gone_on_with(
    world: Path, tmp_path: Path, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch, allowed: float
) -> None:
    unbroken = hashes(runs.run(raw("fedavg", COHORTS), world, tmp_path / "unbroken"))
    broken = raw("fedavg", COHORTS, engine__max_failed_fraction=allowed)
    with monkeypatch.context():
        sabotage("raises")
        with pytest.raises(ClientError) as caught:
            runs.run(broken, world, tmp_path / "broken")
        monkeypatch.undo()
    error = caught.value
    assert (error.method, error.stage, error.round, error.client) == ("fedavg", 0, 2, BAD)
    assert error.cause == "RuntimeError: the disk of this phone is full"
    assert str(error).endswith(f"1 of 4 updates failed; engine.max_failed_fraction allows {allowed:g} of them)")
    state = load_latest(tmp_path / "broken" / "checkpoints" / "fedavg")
    assert state is not None
    assert (state.round, state.notes) == (2, ())
    assert all(np.isfinite(array).all() for array in state.arrays.values())
    assert hashes(runs.resume(tmp_path / "broken")) == unbroken


def test_a_learning_rate_that_no_model_survives_ends_the_run_on_any_engine(
    world: Path, tmp_path: Path, pools: Callable[[int], Any]
) -> None:
    hopeless = raw("fedavg", COHORTS)
    hopeless["phases"]["further_pretrain"]["local"]["optimizer"] = {"kind": "sgd", "learning_rate": 1e30}
    messages = []
    for name, engine in (("here", InlineEngine), ("there", lambda: Lent(pools(2), str(tmp_path)))):
        with pytest.raises(FedsimError) as caught:
            runs.run(hopeless, world, tmp_path / name, engine)
        messages.append(str(caught.value))
    # one step leaves weights that are huge and finite; a step from there does not
    assert messages[0] == messages[1]
    assert messages[0] == (
        "client 2 failed in fedavg, stage 0, round 1: update is not finite "
        "(4 of 4 updates rejected; engine.max_rejected_fraction allows 0.5 of them)"
    )


def command(patch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit code of the command line."""
    patch.setattr(sys, "argv", ["fedsim", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    return ending.value.code


def test_the_command_says_it_once_and_ends_with_1(
    world: Path, tmp_path: Path, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sabotage("raises")
    (world / "broken.yaml").write_text(yaml.safe_dump(raw("fedavg", COHORTS)))
    broken = str(world / "broken.yaml")
    assert command(monkeypatch, "scenario", broken, "--engine", "inline", "--out", str(tmp_path / "run")) == 1
    said = " ".join(capsys.readouterr().err.split())
    cause = "RuntimeError: the disk of this phone is full"
    assert f"error: client {BAD} failed in fedavg, stage 0, round 2: {cause}" in said
    assert "Traceback" not in said


NOBODY: dict[str, dict[str, Any]] = {
    "late": {
        "phases__further_pretrain__participation__deadline_s": 1e-6,
        "phases__finetune__participation__deadline_s": 1e-6,
    },
    "out_of_memory": {"fleet__source": {"kind": "file", "path": "toys.csv"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("outcome", NOBODY)
@pytest.mark.parametrize("training", [True, False])
def test_rounds_in_which_nobody_comes_back(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, training: bool
) -> None:
    toy = "1e9,1000,1e6,1e6,0.01,1,1"
    header = "flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,compute_power_w,radio_power_w"
    (world / "toys.csv").write_text("\n".join([header, *[toy] * CLIENTS]))
    methods = {name: METHODS[name] for name in ("fedavg", "everything", "needed")}
    summary = runs.run(small(methods, **NOBODY[outcome]), world, tmp_path / "run", InlineEngine if training else None)
    run = fedsim.read_run(tmp_path / "run")
    assert (run.trips.outcome == outcome).all()
    assert not run.trips.useful.any()
    assert (run.trips.weight == 0).all()
    assert run.rounds.loss.isna().all()
    assert (run.rounds.trained_groups == "").all()
    length = 0.0 if outcome == "out_of_memory" else 1e-6
    for name, found in summary["methods"].items():
        assert found["simulated_seconds"] == pytest.approx(5 * length)
        assert found["clients_trained"] == 0
        assert found["upload_bytes"] == 0
        assert run.trace_sha256(name) == found["trace_sha256"]
    if training:
        # nobody has trained anything: whatever the method, it is the model that all of them started from
        assert len({weights for weights, _ in hashes(summary).values()}) == 1
        before, after = (run.evals[run.evals["round"] == round_] for round_ in (-1, 2))
        assert before.value.tolist() == after.value.tolist()
    assert command(monkeypatch, "show", str(tmp_path / "run")) == 0


def test_a_round_without_anybody_between_others(world: Path, tmp_path: Path) -> None:
    """Just one client has too little memory, and in the second round it is the only one picked."""
    rich, poor = "1e9,10000000,1e6,1e6,0.01,1,1", "1e9,1000,1e6,1e6,0.01,1,1"
    header = "flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,compute_power_w,radio_power_w"
    lines = [header, *[poor if client == BAD else rich for client in range(CLIENTS)]]
    (world / "one.csv").write_text("\n".join(lines))
    fleet = {"fleet__source": {"kind": "file", "path": "one.csv"}}
    runs.run(raw("kept", [[0, 1], [BAD], [1, 2]], **fleet), world, tmp_path / "run")
    rounds = fedsim.read_run(tmp_path / "run").rounds
    assert rounds.completed.tolist() == [2, 0, 2]
    assert rounds.end_s.iloc[1] == rounds.start_s.iloc[1] == rounds.end_s.iloc[0]
    saved = load_latest(tmp_path / "run" / "checkpoints" / "kept")
    assert saved is not None
    left = zip(saved.arrays["kept/places"].tolist(), saved.arrays["kept/rounds"].tolist(), strict=True)
    assert dict(left) == {0: 0, 1: 2, 2: 2}
