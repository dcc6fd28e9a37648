"""Held-out samples in batches, the baselines that need no model, and how both are drawn."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fedsim import rng
from fedsim.data.objective import IGNORED, Examples, NumpyBatch
from fedsim.data.tokens import Tokens
from fedsim.data.work import IntArray

CHUNK_SAMPLES = 256
"""Samples of one evaluation task: fixed, so that sums do not depend on the number of hosts."""


def chunks(samples: IntArray) -> list[IntArray]:
    """The samples cut into evaluation tasks."""
    return [samples[i : i + CHUNK_SAMPLES] for i in range(0, len(samples), CHUNK_SAMPLES)]


def select(tokens: Tokens, label: str, most: int, seed: int) -> IntArray:
    """Held-out samples with a label (any, for MLM), at most `most` of them (0: all), drawn once and ascending."""
    usable = tokens.test.copy()
    if label in tokens.labels:
        usable &= tokens.labels[label] >= 0
    samples: IntArray = np.flatnonzero(usable)
    if most and len(samples) > most:
        samples = np.sort(rng.stream(seed, "held-out", label).choice(samples, most, replace=False))
    return samples


def held_out(
    examples: Examples, samples: IntArray, batch_samples: int, longest: int, seed: int
) -> Iterator[NumpyBatch]:
    """Batches of similar length; the masks are the same at every evaluation."""
    ordered = samples[np.argsort(examples.lengths(samples), kind="stable")]
    for start in range(0, len(ordered), batch_samples):
        part = ordered[start : start + batch_samples]
        yield examples.batch(part, longest, rng.stream(seed, "held-out masks", int(part[0])))


def unigram(tokens: Tokens, samples: IntArray, *, whole: bool = False) -> npt.NDArray[np.float64]:
    """[vocabulary]: log-probabilities of tokens by how often they occur in the samples, add-one smoothed.

    Those that samples begin and end with count where the whole text is predicted, and they with it.
    """
    lengths, starts = tokens.ids.lengths[samples], tokens.ids.offsets[samples]
    places = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())
    seen = np.bincount(tokens.ids.values[places], minlength=tokens.vocabulary).astype(np.float64)
    framing = (tokens.pad,) if whole else (tokens.cls, tokens.sep, tokens.pad)
    seen[[i for i in framing if i >= 0]] = 0.0
    logs: npt.NDArray[np.float64] = np.log((seen + 1.0) / (seen.sum() + tokens.vocabulary))
    return logs


def unigram_loss(
    examples: Examples, train: IntArray, test: IntArray, batch_samples: int, longest: int, seed: int
) -> float:
    """Cross-entropy (nats) of what is predicted of the held-out samples under `unigram` of the training samples."""
    surprise = -unigram(examples.tokens, train, whole=examples.objective.whole)
    total, count = 0.0, 0
    for chunk in chunks(test):
        for batch in held_out(examples, chunk, batch_samples, longest, seed):
            wanted = batch.targets[batch.targets != IGNORED]
            total += float(surprise[wanted].sum())
            count += len(wanted)
    return total / max(count, 1)


def majority_accuracy(labels: IntArray, train: IntArray, test: IntArray) -> float:
    """Accuracy of always answering the training samples' most frequent label."""
    given = labels[train]
    most = int(np.bincount(given[given >= 0]).argmax())
    return float(np.mean(labels[test] == most))
