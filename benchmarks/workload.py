"""W3, the work that all systems are given: a small BERT learns masked-language modelling from 100 clients.

Nothing is left to chance (no dropout, no shuffling, listed cohorts, given masks), so every system must arrive at the
same weights; `distance` says how far it is off. Needs numpy, torch and transformers alone, because it also runs in
the environments of other systems.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

CLIENTS, COHORT, SAMPLES, TOKENS, VOCABULARY = 100, 10, 8, 64, 8000
BATCH, LEARNING_RATE = 4, 0.1
MASK, IGNORED = 4, -100
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": TOKENS,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def data() -> tuple[Ints, Ints]:
    """Token ids and targets, [clients, samples, tokens] each; -100 where nothing is predicted."""
    draw = np.random.default_rng(3)
    ids = draw.integers(5, VOCABULARY, (CLIENTS, SAMPLES, TOKENS))
    masked = draw.random(ids.shape) < 0.15
    return np.where(masked, MASK, ids), np.where(masked, ids, IGNORED)


def cohort(round_: int) -> list[int]:
    """Clients of a round, counted from 0."""
    chosen = np.random.default_rng(1000 + round_).choice(CLIENTS, COHORT, replace=False)
    return [int(client) for client in chosen]


def model() -> Any:
    """A `BertForMaskedLM`, always with the same first weights."""
    from transformers import BertConfig, BertForMaskedLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig.from_dict(CONFIG)
        return BertForMaskedLM(config)


def flat(module: Any) -> Tensor:
    """All parameters end to end, the tied ones once."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def split(vector: Tensor, module: Any) -> list[Tensor]:
    """Views of a flat vector with the shapes of the parameters."""
    parameters = list(module.parameters())
    pieces = torch.split(vector, [parameter.numel() for parameter in parameters])
    return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


class Data:
    """The data set as tensors."""

    def __init__(self) -> None:
        self.ids, self.targets = map(torch.from_numpy, data())

    def batches(self, client: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and targets, [batch, tokens] each, in the order of the samples."""
        return zip(torch.split(self.ids[client], BATCH), torch.split(self.targets[client], BATCH), strict=True)


def loss(module: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over what is predicted; the logits are computed at every position."""
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


def distance(final: Floats, reference: Floats, first: Floats) -> float:
    """Relative L2 distance between the updates of a whole run: ``|final - reference| / |reference - first|``."""
    return float(np.linalg.norm(final - reference) / np.linalg.norm(reference - first))
