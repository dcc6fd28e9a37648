"""What is learned, and the samples as that objective sees them."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from fedsim.data import batches
from fedsim.data.tokens import Ragged, Tokens
from fedsim.data.work import IntArray

IGNORED = -100
"""Target where nothing is predicted (the convention of torch's cross-entropy)."""


@dataclass(frozen=True)
class Objective:
    """Masked-language modelling, or one label a sample (`sequence`), or BIO tags (`tokens`)."""

    kind: Literal["mlm", "sequence", "tokens"]
    label: str = ""
    """Name of the label or tag column; empty for MLM."""
    mask_fraction: float = 0.15
    all_positions: bool = False
    """MLM: compute the vocabulary logits at every position."""
    width: int = 0
    """Every batch is padded to this many tokens; 0: to its longest sample."""
    attended: bool = False
    """MLM: compute the vocabulary logits at every token that is not padding, for a teacher's to be compared with."""
    whole: bool = False
    """MLM: predict every token that is not padding, hidden or not, as a decoder does that writes the text anew."""

    @property
    def masked_positions(self) -> bool:
        """MLM at masked positions alone."""
        return self.kind == "mlm" and not (self.all_positions or self.attended)


@dataclass(frozen=True)
class NumpyBatch:
    """One padded batch; shapes as in `fedsim.model.local.Batch`."""

    ids: npt.NDArray[np.int64]
    lengths: IntArray
    positions: npt.NDArray[np.int64] | None
    targets: npt.NDArray[np.int64]


class Lengths(Protocol):
    """All that pricing has to know of samples."""

    def lengths(self, samples: IntArray) -> IntArray:
        """Tokens of each sample."""

    def counts(self, samples: IntArray) -> IntArray | None:
        """Positions that the head is evaluated at in each sample; None: at all, padding included."""


@dataclass(frozen=True)
class Examples:
    """Tokenised samples under an objective."""

    tokens: Tokens
    objective: Objective

    def lengths(self, samples: IntArray) -> IntArray:
        """Tokens of each sample."""
        offsets = self.tokens.ids.offsets
        lengths: IntArray = offsets[samples + 1] - offsets[samples]
        return lengths

    def counts(self, samples: IntArray) -> IntArray | None:
        """Positions that the head is evaluated at in each sample; None: at all, padding included."""
        given = self.tokens.targets
        if self.objective.masked_positions and given is not None:
            return np.array([np.count_nonzero(given[int(i)] != IGNORED) for i in samples], np.int64)
        return counts(self.objective, self.lengths(samples))

    def batch(self, samples: IntArray, longest: int, rng: np.random.Generator) -> NumpyBatch:
        """The samples padded to a common length, with targets; `rng` draws the masks."""
        batch = self._shortest(samples, longest, rng)
        return widened(batch, self.objective.width, max(self.tokens.pad, 0)) if self.objective.width else batch

    def _shortest(self, samples: IntArray, longest: int, rng: np.random.Generator) -> NumpyBatch:
        tokens, objective = self.tokens, self.objective
        lengths = self.lengths(samples)
        width = int(batches.padded(lengths.max(), longest))
        ids = _pad(tokens.ids, samples, width, max(tokens.pad, 0))
        if objective.kind == "sequence":
            return NumpyBatch(ids, lengths, None, tokens.labels[objective.label][samples].astype(np.int64))
        if objective.kind == "tokens":
            return NumpyBatch(
                ids, lengths, None, _pad(tokens.tags[objective.label], samples, width, IGNORED).reshape(-1)
            )
        if tokens.targets is not None:
            targets = _pad(tokens.targets, samples, width, IGNORED).reshape(-1)
            chosen = np.flatnonzero(targets != IGNORED)
            text = np.where(targets != IGNORED, targets, ids.reshape(-1))
        else:
            text = ids.reshape(-1)
            ids, chosen = batches.mask(ids, lengths, objective.mask_fraction, tokens.vocabulary, tokens.mask, rng)
            targets = np.full(ids.size, IGNORED, np.int64)
            targets[chosen] = text[chosen]
        if objective.whole:
            targets = np.where((np.arange(width) < lengths[:, None]).reshape(-1), text, IGNORED)
        if objective.all_positions:
            return NumpyBatch(ids, lengths, None, targets)
        if objective.attended:
            chosen = np.flatnonzero(np.arange(width) < lengths[:, None])
        return NumpyBatch(ids, lengths, chosen, targets[chosen])


@dataclass(frozen=True)
class DeclaredExamples:
    """Samples of one declared length, without any text."""

    tokens: int
    objective: Objective

    def lengths(self, samples: IntArray) -> IntArray:
        """Tokens of each sample."""
        return np.full(len(samples), self.tokens, np.int64)

    def counts(self, samples: IntArray) -> IntArray | None:
        """Positions that the head is evaluated at in each sample; None: at all, padding included."""
        return counts(self.objective, self.lengths(samples))


def counts(objective: Objective, lengths: IntArray) -> IntArray | None:
    """Positions that the head is evaluated at, from lengths; None: at all, padding included."""
    if objective.kind == "sequence":
        return np.ones(len(lengths), np.int64)
    if objective.kind == "tokens" or objective.all_positions:
        return None
    return lengths if objective.attended else batches.mask_counts(lengths, objective.mask_fraction)


def widened(batch: NumpyBatch, width: int, pad: int) -> NumpyBatch:
    """The same batch with more padding: what is drawn for it does not depend on how far it is padded."""
    samples, before = batch.ids.shape
    ids = np.pad(batch.ids, ((0, 0), (0, width - before)), constant_values=pad)
    positions, targets = batch.positions, batch.targets
    if positions is not None:
        positions = positions // before * width + positions % before
    elif len(targets) != samples:
        rows = targets.reshape(samples, before)
        targets = np.pad(rows, ((0, 0), (0, width - before)), constant_values=IGNORED).reshape(-1)
    return NumpyBatch(ids, batch.lengths, positions, targets)


def _pad(rows: Ragged, samples: IntArray, width: int, fill: int) -> npt.NDArray[np.int64]:
    out = np.full((len(samples), width), fill, np.int64)
    for i, sample in enumerate(samples):
        row = rows[int(sample)]
        out[i, : len(row)] = row
    return out
