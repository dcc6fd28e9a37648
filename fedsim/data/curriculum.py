"""Progressive training by data: which samples of a shard count, from easy to hard.

Two measures of difficulty, both known from the tokens alone: length, and how rare a sample's words are (as in Platanios
et al., *Competence-based Curriculum Learning for Neural Machine Translation*, NAACL 2019).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from fedsim.data.cached import make_once
from fedsim.data.tokens import Tokens
from fedsim.data.work import IntArray
from fedsim.scenario.phases import CurriculumStep

_MEASURES = ("mean", "rarest")


@dataclass(frozen=True, eq=False)
class Difficulty:
    """How rare the words of every sample are, [samples] each: 0 for a sample of the most frequent word alone."""

    mean: npt.NDArray[np.float64]
    """Mean rank of its words."""
    rarest: npt.NDArray[np.float64]
    """Rank of its rarest word."""

    @classmethod
    def of(cls, tokens: Tokens) -> Self:
        """Work it out; a sample without words (special tokens alone) has difficulty 0."""
        n, values = len(tokens.ids), np.asarray(tokens.ids.values, np.int64)
        owners = np.repeat(np.arange(n), tokens.ids.lengths)
        words = ~np.isin(values, _special(tokens))
        owners, rank = owners[words], ranks(tokens)[values[words]]
        total, rarest = np.bincount(owners, rank, n), np.zeros(n)
        np.maximum.at(rarest, owners, rank)
        return cls(total / np.maximum(np.bincount(owners, minlength=n), 1), rarest)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-map what `prepare` left."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _MEASURES))


def ranks(tokens: Tokens) -> IntArray:
    """Rank of each word by its frequency in the training samples, [vocabulary]: 0 is the most frequent, ties by id.

    A word is a token of the tokenizer; special tokens come last.
    """
    training = np.repeat(~np.asarray(tokens.test), tokens.ids.lengths)
    seen = np.bincount(np.asarray(tokens.ids.values)[training], minlength=tokens.vocabulary)
    seen[_special(tokens)] = -1
    rank = np.empty(len(seen), np.int64)
    rank[np.argsort(-seen, kind="stable")] = np.arange(len(seen))
    return rank


def prepare(tokens: Tokens, cache: Path) -> Path:
    """The folder for `Difficulty.open`, built on first use and kept by the content of the tokens."""
    folder = cache / "difficulty" / tokens.fingerprint

    def build(empty: Path) -> None:
        found = Difficulty.of(tokens)
        for name in _MEASURES:
            np.save(empty / f"{name}.npy", getattr(found, name))

    make_once(folder, build)
    return folder


def select(
    step: CurriculumStep | None, samples: IntArray, lengths: IntArray, difficulty: Difficulty | None
) -> IntArray:
    """The samples of a shard that count, in their order: all without a step, and always at least the easiest one.

    Args:
        step: where the curriculum stands.
        samples: of one client, ascending.
        lengths: tokens of each of them.
        difficulty: of all samples; None where there is no text, so that all are alike.
    """
    if step is None or not len(samples):
        return samples
    if step.max_tokens is not None:
        short = np.flatnonzero(lengths <= step.max_tokens)
        return samples[short] if len(short) else samples[[int(lengths.argmin())]]
    if step.frequent_words is None:
        return samples
    hard = np.zeros(len(samples)) if difficulty is None else getattr(difficulty, step.words)[samples]
    most = max(1, int(np.floor(step.frequent_words * len(samples) + 0.5)))
    return samples[np.sort(np.argsort(hard, kind="stable")[:most])]


def _special(tokens: Tokens) -> list[int]:
    return [token for token in (tokens.pad, tokens.cls, tokens.sep, tokens.mask) if token >= 0]
