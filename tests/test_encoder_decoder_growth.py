"""Encoder-decoders that grow, from both ends or on one side, from start to end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import BartForConditionalGeneration

import fedsim
from fedsim import simulation
from fedsim.account import Account
from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.engine.tasks import TrainBlock
from fedsim.model.architecture import Head
from fedsim.model.layout import FloatArray, layouts
from fedsim.model.local import LocalModel
from fedsim.observe.observer import Silent
from fedsim.phases import prepare
from fedsim.wire import PLAIN, Codec
from fedsim.world import build
from tests import runs
from tests.runs import Dying, Killed, Lent, hashes
from tests.test_conservation import counted, payload
from tests.test_encoder_decoder import MODEL
from tests.test_growth import Ended, Interrupted, Spy
from tests.test_growth import scenario as growing

METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"weighting": "uniform"},
    "one": {
        "kind": "progfed",
        "growth": "symmetric",
        "further_pretrain": {"stages": 1},
        "finetune": {"stages": 1},
    },
    "inwards": {
        "kind": "progfed",
        "growth": "symmetric",
        "further_pretrain": {"stage_rounds": [2, 3], "warmup_rounds": 1, "new_blocks": "stack"},
        "optimizer_state": "keep",
    },
    "upwards": {
        "kind": "progfed",
        "growth": "asymmetric",
        "further_pretrain": {"stage_rounds": [2, 3]},
        "mu": 0.1,
        "server": {"kind": "fedadam", "learning_rate": 0.01},
        "upload": {"bits": 8, "share": 0.5},
        "what": "delta",
    },
}
"""Two layers on each side; `inwards` begins with layers 0 and 3, `upwards` with 0, 1 and 2."""
WHOLE = {"embeddings", "layer.0", "layer.1", "layer.2", "layer.3", "head"}
OUTER = WHOLE - {"layer.1", "layer.2"}


def scenario(methods: Mapping[str, Mapping[str, Any]] = METHODS, **changes: Any) -> dict[str, Any]:
    return growing(methods, **{"model": MODEL | {"decoder_layers": 2}} | changes)


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    out, seen, blocks = (
        tmp_path_factory.mktemp("grown") / "run",
        dict[tuple[str, int], dict[str, FloatArray]](),
        list[TrainBlock](),
    )
    summary = runs.run(scenario(), world, out, lambda: Spy(seen, blocks))
    return Ended(summary, fedsim.read_run(out), seen, blocks)


def test_one_stage_is_fedavg_bit_for_bit(ended: Ended) -> None:
    weights = {name: method["weights_sha256"] for name, method in ended.summary["methods"].items()}
    assert weights["one"] == weights["fedavg"]
    for table in ("trips", "rounds", "evals", "stages"):
        pd.testing.assert_frame_equal(ended.frame(table, "one"), ended.frame(table, "fedavg"))


def test_what_each_round_changes(ended: Ended) -> None:
    # the middle waits; a warm-up leaves the ends alone; then everything moves
    assert [ended.changed("inwards", round_) for round_ in range(1, 4)] == [
        OUTER | {"layer.1", "layer.2"},  # trained at the ends, and copied into the middle for the next round
        {"layer.1", "layer.2", "head"},
        WHOLE,
    ]
    before, after = ended.begun["inwards", 1], ended.begun["inwards", 2]
    np.testing.assert_array_equal(before["layer.1"], ended.begun["fedavg", 0]["layer.1"])
    for copy, source in (("layer.1", "layer.0"), ("layer.2", "layer.3")):
        np.testing.assert_array_equal(after[copy], after[source])
    assert ended.changed("upwards", 0) == ended.changed("upwards", 1) == WHOLE - {"layer.3"}
    assert ended.changed("upwards", 2) == WHOLE
    trained = ended.frame("rounds", "inwards")["trained_groups"].tolist()
    assert [set(row.split()) for row in trained[:4]] == [OUTER, OUTER, {"layer.1", "layer.2", "head"}, WHOLE]


def test_clients_download_what_their_stage_needs(ended: Ended) -> None:
    sizes = {name: 4 * len(values) for name, values in ended.begun["inwards", 0].items()}
    stages = ended.frame("stages", "inwards")
    assert stages["download_bytes_per_client"].tolist()[:3] == [
        sum(sizes[name] for name in needed) for needed in (OUTER, WHOLE, WHOLE)
    ]
    trips = ended.frame("trips", "inwards")
    assert set(trips[trips["round"] == 0]["price_download_bytes"]) == {sum(sizes[name] for name in OUTER)}


def test_bytes_and_flops_of_every_stage_are_those_of_its_model(ended: Ended) -> None:
    trips = ended.run.trips[ended.run.trips["useful"] & ended.run.trips["method"].isin(["inwards", "upwards"])]
    smallest = trips.sort_values("tokens", kind="stable").groupby(["method", "phase", "stage"], observed=True).head(1)
    assert len(smallest) == 5 + 4
    for trip in runs.rows(smallest):
        (block,) = (
            block
            for block in ended.blocks
            if (block.method, block.round) == (trip.method, trip.round) and block.clients[0].client == trip.client
        )
        assert (trip.flops_forward, trip.flops_backward) == counted(block, block.clients[0])
        codec = PLAIN if trip.method == "inwards" else Codec.model_validate(METHODS["upwards"]["upload"])
        parts = LocalModel(block.shape).trained.values()
        assert trip.upload_bytes == sum(len(payload(part, codec)) for part in parts)


def test_prices_are_those_of_training(ended: Ended, world: Path, tmp_path: Path) -> None:
    runs.run(scenario(), world, tmp_path / "run", None)
    priced = Ended({}, fedsim.read_run(tmp_path / "run"))
    for method in METHODS:
        for table in ("trips", "rounds", "stages"):
            wanted, found = ended.frame(table, method), priced.frame(table, method)
            pd.testing.assert_frame_equal(
                found.drop(columns="loss", errors="ignore"), wanted.drop(columns="loss", errors="ignore")
            )


@pytest.mark.slow
def test_hosts_give_the_same_bits(ended: Ended, world: Path, tmp_path: Path, pools: Callable[[int], RayEngine]) -> None:
    names = ("inwards", "upwards")
    raw = scenario({name: METHODS[name] for name in names})
    there = runs.run(raw, world, tmp_path / "run", lambda: Lent(pools(2), str(tmp_path)))
    assert hashes(there) == {name: hashes(ended.summary)[name] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("results", [9, pytest.param(17, marks=pytest.mark.slow)])
def test_killed_around_a_growth_and_resumed(ended: Ended, world: Path, tmp_path: Path, results: int) -> None:
    names = ("inwards", "upwards")
    raw = scenario({name: METHODS[name] for name in names}, outputs__checkpoint_every_rounds=1)
    with pytest.raises(Killed):
        runs.run(raw, world, tmp_path / "run", lambda: Dying(InlineEngine(), results))
    assert hashes(runs.resume(tmp_path / "run")) == {name: hashes(ended.summary)[name] for name in names}


def test_a_model_that_is_still_growing_opens_with_transformers(world: Path, tmp_path: Path) -> None:
    raw = scenario({"inwards": METHODS["inwards"]}, outputs__save_models=True)
    with pytest.raises(KeyboardInterrupt):
        runs.run(raw, world, tmp_path / "run", lambda: Interrupted("inwards", 2))
    request = simulation.resumed(tmp_path / "run")
    data = build(request.scenario, request.base, request.folder, Silent())
    item = prepare(data, "inwards")
    account, state = Account("inwards", request.folder), simulation._initial_state(data, item)
    account.restore(state, item.layouts_after)
    assert state.round == 2
    simulation._save_model(data, item, state, request.folder)
    model = BartForConditionalGeneration.from_pretrained(request.folder / "models" / "inwards")
    assert (model.config.encoder_layers, model.config.decoder_layers) == (1, 1)
    layout = layouts(item.architecture, Head("mlm"))["layer.3"]
    weights = model.model.decoder.layers[0].encoder_attn.q_proj.weight.detach().numpy()
    np.testing.assert_array_equal(weights, layout.split(state.model.groups["layer.3"])["encoder_attn.q_proj.weight"])
