"""Which samples make up a batch, decided from lengths alone: the same for pricing and for training."""

from collections.abc import Iterator

import numpy as np

from fedsim.data.work import IntArray, Work
from fedsim.scenario.phases import Local

MULTIPLE = 8
"""Batches are padded to a multiple of this: small enough to waste little, large enough for vector units."""


def padded(lengths: IntArray, longest: int) -> IntArray:
    """Lengths rounded up to a multiple of 8, never beyond what the model takes."""
    rounded: IntArray = np.minimum(-(-lengths // MULTIPLE) * MULTIPLE, longest)
    return rounded


def compose(lengths: IntArray, local: Local, longest: int, rng: np.random.Generator) -> list[IntArray]:
    """The batches of one client's round, as positions within its shard.

    `grouped` sorts by padded length with ties in random order, cuts, and shuffles the batches: little padding, and
    the padded shapes do not depend on the draw. `fixed` cuts the shard as it stands, every epoch alike.
    """
    size, n = local.batch_samples, len(lengths)
    batches: list[IntArray] = []
    for _ in range(local.epochs):
        if local.order == "fixed":
            batches += [np.arange(i, min(i + size, n)) for i in range(0, n, size)]
            continue
        order = np.lexsort((rng.random(n), padded(lengths, longest)))
        cut = [np.sort(order[i : i + size]) for i in range(0, n, size)]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return batches[: local.max_batches]


def draws(samples: IntArray, steps: int, batch_samples: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Batches of a training that is counted in steps: each is drawn from all samples, without repeats."""
    for _ in range(steps):
        yield rng.choice(samples, min(batch_samples, len(samples)), replace=False)


def measure(
    lengths: IntArray, counts: IntArray | None, batches: list[IntArray], longest: int, width: int = 0
) -> IntArray:
    """One client's row of `Work`: batches, samples, tokens, real, squared, positions, then B, L, P of the largest.

    Args:
        lengths: tokens of each sample of the shard.
        counts: positions that the head is evaluated at in each sample; None: at every position, padding included.
        batches: positions within the shard.
        longest: most tokens that the model takes.
        width: tokens that every batch is padded to; 0: to its longest sample.
    """
    row = np.zeros(9, np.int64)
    largest = -1
    for batch in batches:
        samples, own = len(batch), lengths[batch]
        length = width or int(padded(own.max(), longest))
        positions = samples * length if counts is None else int(counts[batch].sum())
        row[:6] += (1, samples, samples * length, int(own.sum()), samples * length * length, positions)
        # activations grow with B * L and, through the attention weights, with B * L * L
        if samples * length * (length + 64) > largest:
            largest = samples * length * (length + 64)
            row[6:] = (samples, length, positions)
    return row


def prefixes(
    lengths: IntArray, counts: IntArray | None, batches: list[IntArray], longest: int, width: int = 0
) -> IntArray:
    """Rows of `measure` for the first batch, the first two, and so on, [batches, 9]; arguments as there.

    The largest batch is that of all of them in every row: who could not hold it would not start.
    """
    rows = np.array([measure(lengths, counts, [batch], longest, width) for batch in batches])
    rows[:, :6] = np.cumsum(rows[:, :6], axis=0)
    rows[:, 6:] = measure(lengths, counts, batches, longest, width)[6:]
    return rows


def as_work(rows: IntArray) -> Work:
    """Rows of `measure`, [clients, 9], as columns."""
    batches, samples, tokens, real_tokens, squared_tokens, positions = rows.T[:6]
    return Work(batches, samples, tokens, real_tokens, squared_tokens, positions, largest_batch=rows[:, 6:])


def mask_counts(lengths: IntArray, fraction: float) -> IntArray:
    """Positions to predict in each sample: the fraction of its tokens without [CLS] and [SEP], at least one.

    A fixed count, where BERT's own code draws one, makes the cost of a batch known before it is drawn.
    """
    counts: IntArray = np.maximum(1, np.floor((lengths - 2) * fraction + 0.5).astype(np.int64))
    return counts


def mask(
    ids: IntArray, lengths: IntArray, fraction: float, vocabulary: int, mask_id: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Choose what to predict and hide it: 80 % [MASK], 10 % a random token, 10 % kept (Devlin et al. 2019, 3.1).

    Args:
        ids: [B, L] padded tokens.
        lengths: [B] real tokens.
        fraction: share of the tokens to predict.
        vocabulary: random tokens are below this.
        mask_id: id of [MASK].
        rng: the stream that draws.

    Returns:
        The hidden tokens [B, L] and the flat positions [P] to predict, ascending.
    """
    columns = np.arange(ids.shape[1])
    score = rng.random(ids.shape)
    score[(columns == 0) | (columns >= lengths[:, None] - 1)] = 2.0
    rank = np.argsort(np.argsort(score, axis=1), axis=1)
    chosen = np.flatnonzero(rank < mask_counts(lengths, fraction)[:, None])
    what = rng.random(len(chosen))
    random = rng.integers(0, vocabulary, len(chosen))
    hidden = ids.copy()
    flat = hidden.reshape(-1)
    flat[chosen] = np.where(what < 0.8, mask_id, np.where(what < 0.9, random, flat[chosen]))
    return hidden, chosen
