"""Tests on the clients' own samples, against the same numbers worked out here, and that nobody trains on them."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import fedsim
from fedsim import run_folder
from fedsim.data.shards import Shards
from fedsim.data.tokens import Tokens
from fedsim.model.architecture import Head
from fedsim.model.pretrained import read_architecture, write
from fedsim.report.compare import comparison
from fedsim.store import atomic
from fedsim.store.checkpoint import load_latest
from fedsim.world import cache_folder
from tests import runs
from tests.runs import CLIENTS, small

METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "split": {"kind": "fedsplitbert", "global_layers": [0, 2]},
    "centralized": {},
}
Tested = tuple[float, float]
"""Accuracy and loss."""


def scenario(**changes: Any) -> dict[str, Any]:
    without = {"phases__pretrain": None, "phases__further_pretrain": None}
    return small(METHODS, **{**without, "phases__evaluate": {"personal": {"fraction": 0.3}}, **changes})


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> fedsim.Run:
    out = tmp_path_factory.mktemp("personal") / "run"
    runs.run(scenario(outputs__save_models=True), world, out)
    return fedsim.read_run(out)


@pytest.fixture(scope="module")
def tokens(run: fedsim.Run) -> Tokens:
    """The corpus whose samples the shards are made of."""
    wanted = run_folder.read_json(run.path / "world.json")["text"]
    opened = (Tokens.open(file.parent) for file in (cache_folder() / "tokens").glob("*/meta.json"))
    # other tests may have made the same tokens under other settings
    return next(corpus for corpus in opened if corpus.fingerprint == wanted)


def measured(folder: Path, tokens: Tokens, samples: np.typing.NDArray[np.int32]) -> Tested:
    """A saved model, sample by sample, without batches or padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = [torch.from_numpy(tokens.ids[int(sample)].astype(np.int64))[None] for sample in samples]
    labels = torch.from_numpy(tokens.labels["topic"][samples].astype(np.int64))
    with torch.no_grad():
        logits = torch.cat([model(input_ids=one).logits for one in ids])
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return float((logits.argmax(-1) == labels).float().mean()), float(loss)


def reported(run: fedsim.Run, method: str) -> Tested:
    quality: Mapping[str, float] = run.summary["methods"][method]["quality"]
    return quality["finetune/personal_accuracy"], quality["finetune/personal_loss"]


def test_nobody_trains_on_what_is_held_out(run: fedsim.Run) -> None:
    train, own = Shards.open(run.path / "shards"), Shards.open(run.path / "personal")
    assert len(train) == len(own) == CLIENTS
    assert not set(train.indices.tolist()) & set(own.indices.tolist())
    whole = own.sizes + train.sizes
    assert own.sizes.tolist() == np.clip(np.floor(0.3 * whole + 0.5), 1, whole - 1).tolist()
    trips = run.trips[(run.trips.client >= 0) & run.trips.useful]
    # shares of the mean are shares of what is left to train on
    for _, members in trips.astype({"method": str}).groupby(["method", "round"]):
        sizes = train.sizes[members.client]
        assert members.weight.to_numpy() == pytest.approx(sizes / sizes.sum(), rel=1e-12)


@pytest.mark.parametrize("method", ["fedavg", "centralized"])
def test_without_private_parts_clients_use_the_global_model(run: fedsim.Run, tokens: Tokens, method: str) -> None:
    own = Shards.open(run.path / "personal")
    each = [measured(run.path / "models" / method, tokens, own[client]) for client in range(CLIENTS)]
    assert reported(run, method) == pytest.approx(tuple(np.mean(each, axis=0)), rel=1e-5)


def test_private_parts_are_tested_with_their_clients(run: fedsim.Run, tokens: Tokens, tmp_path: Path) -> None:
    own, state = Shards.open(run.path / "personal"), load_latest(run.path / "checkpoints" / "split")
    assert state is not None
    shared = {name.removeprefix("group/"): a for name, a in state.arrays.items() if name.startswith("group/")}
    architecture = read_architecture(run.path / "models" / "split", "model")
    each, trained = [], 0
    rounds = np.full(CLIENTS, -1)
    rounds[state.arrays["kept/places"]] = state.arrays["kept/rounds"]
    for client, round_ in enumerate(rounds.tolist()):
        private: dict[str, Any] = {}
        if round_ >= 0:
            (file,) = (run.path / "clients" / "split").rglob(f"{client}-{round_}.safetensors")
            stored = atomic.read_tensors(file)
            private = {name.removeprefix("private/"): a for name, a in stored.items() if name.startswith("private/")}
            assert set(private) == {"layer.1", "layer.3", "head"}
            trained += 1
        write(tmp_path / str(client), architecture, Head("pooler", 3), {**shared, **private}, ("t0", "t1", "t2"))
        each.append(measured(tmp_path / str(client), tokens, own[client]))
    assert 0 < trained < CLIENTS
    assert reported(run, "split") == pytest.approx(tuple(np.mean(each, axis=0)), rel=1e-5)
    assert reported(run, "split") != reported(run, "fedavg")


def test_the_baseline_knows_each_clients_labels(run: fedsim.Run, tokens: Tokens) -> None:
    train, own = Shards.open(run.path / "shards"), Shards.open(run.path / "personal")
    topics, shares = tokens.labels["topic"], []
    for client in range(CLIENTS):
        counts = Counter(sorted(topics[train[client]].tolist()))
        guess = max(sorted(counts), key=counts.__getitem__)
        shares.append(np.mean(topics[own[client]] == guess))
    for method in METHODS:
        quality = run.summary["methods"][method]["quality"]
        assert quality["finetune/personal_majority_accuracy"] == pytest.approx(np.mean(shares), abs=1e-12)


def test_quality_is_in_the_trace_and_in_the_comparison(run: fedsim.Run) -> None:
    own = Shards.open(run.path / "personal")
    rows = run.evals[run.evals.metric.str.startswith("personal")]
    assert set(rows.metric) == {"personal_loss", "personal_accuracy", "personal_majority_accuracy"}
    assert set(rows.samples) == {len(own.indices)}
    assert set(rows["round"]) == {-1, 1}
    grid = comparison(run.summary["methods"])
    (found,) = [row for row in grid.rows if row[0] == "finetune personal_accuracy"]
    assert found[1:] == tuple(f"{reported(run, method)[0]:.4f}" for method in METHODS)


def test_few_clients_can_be_drawn_and_masked_tokens_are_tested_too(world: Path, tmp_path: Path) -> None:
    raw = scenario(
        phases__further_pretrain={"rounds": 1, "participation": {"clients_per_round": 2}},
        phases__finetune=None,
        phases__evaluate={"personal": {"fraction": 0.3, "clients": 3}},
    )
    raw["methods"] = {"fedavg": {}}
    runs.run(raw, world, tmp_path / "run")
    found = fedsim.read_run(tmp_path / "run")
    rows = found.evals[found.evals.metric.str.startswith("personal")]
    assert set(rows.metric) == {"personal_mlm_loss", "personal_mlm_accuracy"}
    sizes = Shards.open(tmp_path / "run" / "personal").sizes
    assert set(rows.samples) < {int(a + b + c) for a in sizes for b in sizes for c in sizes}
    assert rows.samples.max() < sizes.sum()
    assert rows[rows.metric == "personal_mlm_loss"].value.nunique() == 2
