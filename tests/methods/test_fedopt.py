"""FedOpt in whole runs: what it shares with FedAvg, and what its server keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.errors import FedsimError
from fedsim.methods.fedopt import FedOpt
from fedsim.scenario.server import Server
from fedsim.server import optimizer
from fedsim.server.optimizer import ServerState
from fedsim.server.step import begin
from tests import runs

from .states import arrays

ADAM = {"kind": "fedadam", "learning_rate": 0.01, "bias_correction": True}
SHORT: dict[str, Any] = {"phases__pretrain": None, "phases__finetune": None, "phases__evaluate": None}


def test_sgd_with_a_rate_of_one_is_fedavg_to_the_last_bit(world: Path, tmp_path: Path) -> None:
    step = {"kind": "sgd", "learning_rate": 1.0}
    methods: dict[str, Any] = {"fedavg": {}, "fedopt": {"server": {"kind": "sgd"}}}
    methods |= {"bt": {"kind": "fedbt"}, "bt-sgd": {"kind": "fedbt", "server": step}}
    short = {**SHORT, "phases__further_pretrain__rounds": 2}
    found = runs.hashes(runs.run(runs.small(methods, **short), world, tmp_path / "run"))
    assert found["fedopt"][0] == found["fedavg"][0]
    assert found["bt-sgd"][0] == found["bt"][0] != found["fedavg"][0]


def test_rounds_are_steps_along_the_mean_change(world: Path, tmp_path: Path) -> None:
    """The first round's mean is FedAvg's model; the step from it is worked out here."""
    methods: dict[str, Any] = {"fedavg": {}, "fedopt": {"server": ADAM}}
    server = Server.model_validate(ADAM)
    raw = runs.small(methods, **SHORT, phases__further_pretrain__rounds=1)
    runs.run(raw, world, tmp_path / "run")
    mean, found = (arrays(tmp_path / "run", method, "group") for method in methods)
    state = arrays(tmp_path / "run", "fedopt", "server")
    assert set(state) == {f"{kind}/{group}" for kind in ("momentum", "variance", "steps") for group in mean}
    for group, after in found.items():
        # m = 0.1 * delta after the first step, which gives the start back: mean - delta
        before = mean[group] - state[f"momentum/{group}"] / np.float32(0.1)
        wanted, _ = optimizer.step(server, {group: before}, {group: mean[group]}, {})
        assert np.abs(after - wanted[group]).max() < 1e-5
        assert np.abs(after - mean[group]).max() > 1e-4


def test_a_phase_starts_afresh_and_a_stage_as_it_is_told(world: Path, tmp_path: Path) -> None:
    methods = {
        name: {"kind": "fedbt", "server": {"kind": "fedadam", "on_new_stage": name}} for name in ("keep", "reset")
    }
    raw = runs.small(methods, **SHORT)
    runs.run(raw, world, tmp_path / "run")
    kept, forgotten = (set(arrays(tmp_path / "run", name, "server")) for name in methods)
    # three rounds train layers 0, 0, 1: the last stage has one round
    assert kept == {f"{m}/{g}" for m in ("momentum", "variance") for g in ("layer.0", "layer.1", "head")}
    assert forgotten == {f"{m}/{g}" for m in ("momentum", "variance") for g in ("layer.1", "head")}
    both = runs.small(methods, phases__pretrain=None, phases__finetune__rounds=1, phases__evaluate=None)
    runs.run(both, world, tmp_path / "both")
    for name in methods:
        # only what fine-tuning's first round has trained: the last layer and its own head
        state = arrays(tmp_path / "both", name, "server")
        assert set(state) == {f"{m}/{g}" for m in ("momentum", "variance") for g in ("layer.3", "head")}
        assert state["momentum/head"].shape != arrays(tmp_path / "run", name, "server")["momentum/head"].shape


def test_a_group_with_new_numbers_is_not_remembered() -> None:
    def zeros(*names: str) -> ServerState:
        return {name: np.zeros(1, np.float32) for name in names}

    state = zeros("momentum/head", "variance/head", "momentum/layer.0")
    keep, reset = Server(kind="fedadam"), Server(kind="fedadam", on_new_stage="reset")
    assert set(begin(keep, state, ["head"], forget=False)) == {"momentum/layer.0"}
    assert begin(keep, state, [], forget=False) == state
    assert begin(keep, state, [], forget=True) == begin(reset, state, [], forget=False) == {}


def test_a_step_that_leaves_no_finite_model_ends_the_run(world: Path, tmp_path: Path) -> None:
    raw = runs.small({"fedopt": {"server": {"kind": "sgd", "learning_rate": 1e60}}}, **SHORT)
    with pytest.raises(FedsimError, match=r"fedopt, round 0: the server's step left no finite \S+: lower server.learn"):
        runs.run(raw, world, tmp_path / "run")


def test_the_default_is_fedadam() -> None:
    assert FedOpt().server == FedOpt.model_validate({"server": {"kind": "fedadam"}}).server
    assert isinstance(FedOpt().server, Server)
