"""The works that all systems are given: small BERTs that learn from many clients by federated averaging.

Nothing is left to chance (no dropout, no shuffling, listed cohorts, given masks), so every system must arrive at the
same weights; `distance` says how far it is off. Needs numpy, torch and transformers alone, because it also runs in
the environments of other systems.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MASK, IGNORED, FIRST_WORD = 4, -100, 5
"""Of masked-language modelling: the token that hides another, the target where nothing is predicted; and of both
tasks: ids below the first word stand for no word."""
MASKED = 0.15
LEARNING_RATE = 0.1

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """One work: who has which samples, and the model that is trained on them for one local epoch of plain SGD."""

    name: str
    task: Literal["mlm", "classify"]
    seed: int
    """Of the data."""
    clients: int
    cohort_clients: int
    samples: int
    """Of each client."""
    batch_samples: int
    tokens: int
    vocabulary: int
    hidden: int
    heads: int
    feed_forward: int
    rounds: int
    """Of a timed run: as few as give a steady median. Whatever runs on Ray takes half a dozen to get there."""
    layers: int = 2
    classes: int = 4
    """Labels of `classify`."""

    def data(self) -> tuple[Ints, Ints]:
        """Token ids [clients, samples, tokens], and targets: as many (`mlm`), or one a sample (`classify`)."""
        draw = np.random.default_rng(self.seed)
        ids = draw.integers(FIRST_WORD, self.vocabulary, (self.clients, self.samples, self.tokens))
        if self.task == "classify":
            return ids, (ids[..., 0] + ids[..., 1]) % self.classes
        masked = draw.random(ids.shape) < MASKED
        return np.where(masked, MASK, ids), np.where(masked, ids, IGNORED)

    def cohort(self, round_: int) -> list[int]:
        """Clients of a round, counted from 0."""
        chosen = np.random.default_rng(1000 + round_).choice(self.clients, self.cohort_clients, replace=False)
        return [int(client) for client in chosen]

    def model(self) -> Any:
        """A `BertForMaskedLM` or `BertForSequenceClassification`, always with the same first weights."""
        from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

        sizes = {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": self.tokens,
            "num_labels": self.classes,
        }
        config = BertConfig.from_dict({**sizes, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return BertForMaskedLM(config) if self.task == "mlm" else BertForSequenceClassification(config)


def _wide(work: Workload) -> Workload:
    """Twice as wide: twice the heads, each as wide as before."""
    sizes = {name: 2 * getattr(work, name) for name in ("hidden", "heads", "feed_forward")}
    return replace(work, name=f"{work.name}-wide", rounds=work.rounds // 2, **sizes)


def _cohort(work: Workload) -> Workload:
    """Four times as many clients a round."""
    return replace(
        work, name=f"{work.name}-cohort", rounds=max(4, work.rounds // 4), cohort_clients=4 * work.cohort_clients
    )


MLM = Workload(
    name="mlm", task="mlm", seed=3, clients=100, cohort_clients=10, samples=8, batch_samples=4, tokens=64,
    vocabulary=8000, hidden=128, heads=2, feed_forward=512, rounds=32,
)  # fmt: skip
"""Bound by computing: nearly all of its time goes into matrix products, most of them in the head."""
CLASSIFY = Workload(
    name="classify", task="classify", seed=4, clients=1000, cohort_clients=100, samples=16, batch_samples=8, tokens=32,
    vocabulary=2000, hidden=64, heads=2, feed_forward=256, rounds=20,
)  # fmt: skip
"""Bound by overhead: an update is two steps of a few milliseconds, and there are a hundred a round."""
WORKLOADS = {work.name: work for work in (MLM, CLASSIFY, _wide(MLM), _cohort(MLM), _wide(CLASSIFY), _cohort(CLASSIFY))}
"""The two that systems are tuned on, and shapes that nobody tuned for: twice the width, four times the cohort."""
TUNED = (MLM.name, CLASSIFY.name)


def flat(module: Any) -> Tensor:
    """All parameters end to end, the tied ones once."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def split(vector: Tensor, module: Any) -> list[Tensor]:
    """Views of a flat vector with the shapes of the parameters."""
    parameters = list(module.parameters())
    pieces = torch.split(vector, [parameter.numel() for parameter in parameters])
    return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


class Data:
    """A data set as tensors."""

    def __init__(self, work: Workload) -> None:
        self.ids, self.targets = map(torch.from_numpy, work.data())
        self._batch_samples = work.batch_samples

    def batches(self, client: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids [batch, tokens] and their targets, in the order of the samples."""
        pieces = (torch.split(whole[client], self._batch_samples) for whole in (self.ids, self.targets))
        return zip(*pieces, strict=True)


def loss(module: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over what is predicted; the logits of `mlm` are computed at every position."""
    result: Tensor = module(input_ids=ids, labels=targets).loss
    return result


def train(module: Any, batches: Iterator[tuple[Tensor, Tensor]]) -> int:
    """One local epoch of SGD, in place; returns the number of samples."""
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)
    module.train()
    samples = 0
    for ids, targets in batches:
        optimizer.zero_grad()
        loss(module, ids, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        samples += len(ids)
    return samples


def tolerance(work: Workload, reference: Floats, first: Floats) -> float:
    """The largest distance that arithmetic explains.

    Weights are float32, and a round changes them by a thousandth: the distance is to a change that has three digits
    less than they have. Sums of n numbers in different orders differ by about the root of n roundings; four times
    that is allowed.
    """
    rounding = 2.0**-24 * float(np.linalg.norm(reference) / np.linalg.norm(reference - first))
    return 4 * math.sqrt(work.cohort_clients) * rounding


def distance(final: Floats, reference: Floats, first: Floats) -> float:
    """Relative L2 distance between the updates of a whole run: ``|final - reference| / |reference - first|``."""
    return float(np.linalg.norm(final - reference) / np.linalg.norm(reference - first))
