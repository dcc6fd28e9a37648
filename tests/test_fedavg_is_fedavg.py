"""Federated averaging against plain PyTorch loops, written here without anything of the simulator."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
)

from tests import runs

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Workload:
    """Masked language modelling on random tokens: the same number of full-length samples for every client."""

    clients: int
    cohort: int
    samples: int
    batch: int
    length: int
    vocabulary: int
    hidden: int
    rounds: int = 3

    def arrays(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Token ids with 15 % of them hidden, and what to predict there; [clients, samples, length]."""
        draw = np.random.default_rng(3)
        ids = draw.integers(5, self.vocabulary, (self.clients, self.samples, self.length))
        mask = draw.random(ids.shape) < 0.15
        return np.where(mask, 4, ids), np.where(mask, ids, -100)

    def batches(self, client: int) -> Batches:
        x, y = (torch.from_numpy(array[client]) for array in self.arrays())
        cuts = [slice(start, start + self.batch) for start in range(0, self.samples, self.batch)]
        return [(x[cut], y[cut]) for cut in cuts]

    def cohorts(self) -> list[list[int]]:
        draws = (np.random.default_rng(1000 + round_) for round_ in range(self.rounds))
        return [draw.choice(self.clients, self.cohort, replace=False).tolist() for draw in draws]

    def model(self) -> BertForMaskedLM:
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=4 * self.hidden,
            max_position_embeddings=self.length,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return BertForMaskedLM(config)

    def write(self, folder: Path) -> dict[str, Any]:
        """Files in the folder, and the scenario that uses them."""
        x, y = self.arrays()
        rows = {
            "input_ids": list(x.reshape(-1, self.length)),
            "labels": list(y.reshape(-1, self.length)),
            "client": [f"{client:03d}" for client in range(self.clients) for _ in range(self.samples)],
        }
        pd.DataFrame(rows).to_parquet(folder / "train.parquet")
        pd.DataFrame(rows).iloc[: self.samples].iloc[::-1].to_parquet(folder / "test.parquet")
        self.model().save_pretrained(folder / "model")
        return {
            "name": "workload",
            "data": {
                "corpus": {
                    "kind": "files",
                    "train": ["train.parquet"],
                    "test": ["test.parquet"],
                    "tokenised": True,
                    "client": "client",
                },
                "partition": {"kind": "natural"},
                "max_tokens": self.length,
            },
            "model": {"checkpoint": "model"},
            "fleet": {"clients": self.clients},
            "phases": {
                "further_pretrain": {
                    "rounds": self.rounds,
                    "participation": {"clients_per_round": self.cohort, "cohorts": self.cohorts()},
                    "local": {
                        "batch_samples": self.batch,
                        "order": "fixed",
                        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
                    },
                },
                "evaluate": {"max_samples": 2},
            },
            "methods": {"fedavg": {}},
        }


TINY = Workload(clients=12, cohort=4, samples=7, batch=3, length=16, vocabulary=120, hidden=16)
FULL = Workload(clients=100, cohort=10, samples=8, batch=4, length=64, vocabulary=8000, hidden=128)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def adamw(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)


def train(
    model: nn.Module, batches: Batches, optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer] = sgd
) -> nn.Module:
    """A plain local training loop; the model itself is left as it was."""
    model = deepcopy(model).train()
    steps = optimizer(model.parameters())
    for x, y in batches:
        steps.zero_grad()
        model(input_ids=x, labels=y).loss.backward()
        steps.step()
    return model


def average(models: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    mean = deepcopy(models[0])
    with torch.no_grad():
        for into, *parts in zip(mean.parameters(), *(model.parameters() for model in models), strict=True):
            into.copy_(torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum(0))
    return mean


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for _, parameter in sorted(model.named_parameters())])


def trained(out: Path, method: str, kind: Any = AutoModelForMaskedLM) -> nn.Module:
    """The global model as a run leaves it, for anybody to open."""
    model: nn.Module = kind.from_pretrained(out / "models" / method)
    return model


def distance(found: nn.Module, wanted: nn.Module, start: nn.Module) -> float:
    """Distance of two models, relative to how far training has moved."""
    return float((flat(found) - flat(wanted)).norm() / (flat(wanted) - flat(start)).norm())


def plain(workload: Workload) -> nn.Module:
    """Federated averaging, one client after the other."""
    model: nn.Module = workload.model()
    for cohort in workload.cohorts():
        model = average([train(model, workload.batches(client)) for client in cohort], [1 / len(cohort)] * len(cohort))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("workload", [TINY, pytest.param(FULL, marks=pytest.mark.slow)], ids=["tiny", "full"])
def test_three_rounds_of_masked_language_modelling(workload: Workload, tmp_path: Path) -> None:
    raw = workload.write(tmp_path)
    raw["methods"] = {
        "masked": {"kind": "fedavg"},
        "all": {"kind": "fedavg", "model": {"checkpoint": "model", "mlm_positions": "all"}},
        "uniform": {"kind": "fedavg", "weighting": "uniform"},
    }
    summary = runs.run(raw, tmp_path, tmp_path / "run")
    start, wanted = workload.model(), plain(workload)
    for method in raw["methods"]:
        # weights are float32 and change by a hundredth: sums in another order are 1e-5 of the change apart
        assert distance(trained(tmp_path / "run", method), wanted, start) < 3e-5
    everywhere = trained(tmp_path / "run", "all")
    masked = trained(tmp_path / "run", "masked")
    assert distance(masked, everywhere, start) < 3e-5
    assert (flat(masked) - flat(everywhere)).norm() < 1e-6 * flat(everywhere).norm()
    # equal shards: both ways of weighting are the same average, and the same bits
    assert summary["methods"]["uniform"]["weights_sha256"] == summary["methods"]["masked"]["weights_sha256"]


@pytest.mark.parametrize("optimizer", [sgd, adamw])
def test_one_client_is_central_training(
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer], tmp_path: Path
) -> None:
    raw = TINY.write(tmp_path)
    phase = raw["phases"]["further_pretrain"]
    phase |= {"rounds": 1, "participation": {"clients_per_round": 1, "cohorts": [[5]]}}
    if optimizer is adamw:
        phase["local"]["optimizer"] = {"kind": "adamw", "learning_rate": 1e-3}
    # at all positions, as the plain model: Adam makes much of a gradient's last bit where the gradient is nearly 0
    raw["model"]["mlm_positions"] = "all"
    raw["methods"] = {"fedavg": {}, "centralized": {}}
    methods = runs.run(raw, tmp_path, tmp_path / "run")["methods"]
    assert methods["fedavg"]["weights_sha256"] == methods["centralized"]["weights_sha256"]
    start = TINY.model()
    wanted = train(start, TINY.batches(5), optimizer)
    found = trained(tmp_path / "run", "fedavg")
    assert float((flat(found) - flat(wanted)).abs().max()) < 1e-6
    assert float((flat(wanted) - flat(start)).abs().max()) > 1e-4


def test_one_client_with_sgd_is_central_training_for_many_rounds(tmp_path: Path) -> None:
    raw = TINY.write(tmp_path)
    raw["phases"]["further_pretrain"] |= {
        "rounds": 4,
        "participation": {"clients_per_round": 1, "cohorts": [[5], [2], [5], [7]]},
    }
    raw["methods"] = {"fedavg": {}, "centralized": {}}
    methods = runs.run(raw, tmp_path, tmp_path / "run")["methods"]
    assert methods["fedavg"]["weights_sha256"] == methods["centralized"]["weights_sha256"]


SIZES = (1, 2, 3, 5, 8)
RATE = 0.5


@dataclass(frozen=True)
class Labelled:
    """Samples of unequal lengths with a label, in shards of unequal sizes."""

    rows: pd.DataFrame
    scenario: Mapping[str, Any]

    def loss(self, model: nn.Module, clients: Sequence[str], labels: Mapping[str, int]) -> Tensor:
        """Mean loss over all samples of these clients in one batch."""
        own = self.rows[self.rows.client.isin(clients)]
        width = max(map(len, own.input_ids))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in own.input_ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in own.input_ids])
        logits = model(input_ids=ids, attention_mask=mask).logits
        return nn.functional.cross_entropy(logits, torch.tensor([labels[topic] for topic in own.topic]))


def labelled(folder: Path) -> Labelled:
    draw = np.random.default_rng(8)
    rows = [
        {
            "input_ids": draw.integers(1, 60, int(draw.integers(3, 17))).tolist(),
            "client": f"c{client}",
            "topic": f"t{draw.integers(3)}",
        }
        for client, size in enumerate(SIZES)
        for _ in range(size)
    ]
    frame = pd.DataFrame(rows)
    frame.to_parquet(folder / "train.parquet")
    frame.iloc[::-1].to_parquet(folder / "test.parquet")
    torch.manual_seed(1)
    config = BertConfig(  # type: ignore[call-arg]
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=3,
    )
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    scenario = {
        "name": "labelled",
        "data": {
            "corpus": {
                "kind": "files",
                "train": ["train.parquet"],
                "test": ["test.parquet"],
                "tokenised": True,
                "client": "client",
                "labels": ["topic"],
            },
            "partition": {"kind": "natural"},
            "max_tokens": 16,
        },
        "model": {"checkpoint": "model", "classifier": "pooler"},
        "fleet": {"clients": len(SIZES)},
        "phases": {
            "finetune": {
                "rounds": 1,
                "participation": {"clients_per_round": len(SIZES)},
                "local": {"batch_samples": max(SIZES), "optimizer": {"kind": "sgd", "learning_rate": RATE}},
                "task": {"label": "topic"},
            },
        },
        "methods": {"samples": {"kind": "fedavg"}, "uniform": {"kind": "fedavg", "weighting": "uniform"}},
    }
    return Labelled(frame, scenario)


def step(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> nn.Module:
    """One step of gradient descent."""
    model = deepcopy(model).train()
    loss(model).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(parameter.grad, alpha=RATE)
    return model


def test_one_full_batch_step_of_unequal_clients_is_a_step_on_the_pooled_data(tmp_path: Path) -> None:
    data = labelled(tmp_path)
    runs.run(data.scenario, tmp_path, tmp_path / "run")
    start = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    labels = json.loads((tmp_path / "run" / "models" / "samples" / "config.json").read_text())["label2id"]
    assert sorted(labels) == ["t0", "t1", "t2"]
    everybody = [f"c{client}" for client in range(len(SIZES))]

    pooled = step(start, lambda model: data.loss(model, everybody, labels))
    found = trained(tmp_path / "run", "samples", AutoModelForSequenceClassification)
    assert float((flat(found) - flat(pooled)).abs().max()) < 1e-6
    assert distance(found, pooled, start) < 1e-5

    alone = [step(start, lambda model, name=name: data.loss(model, [name], labels)) for name in everybody]  # type: ignore[misc]
    mean = average(alone, [1 / len(SIZES)] * len(SIZES))
    found = trained(tmp_path / "run", "uniform", AutoModelForSequenceClassification)
    assert float((flat(found) - flat(mean)).abs().max()) < 1e-6
    assert distance(found, mean, start) < 1e-5
    assert distance(mean, pooled, start) > 0.01
