"""Baselines that need no model."""

import math

import numpy as np

from fedsim.data.held_out import unigram
from fedsim.data.tokens import Ragged, Tokens


def tokens(*samples: list[int]) -> Tokens:
    offsets = np.cumsum([0, *map(len, samples)], dtype=np.int64)
    ids = Ragged(np.concatenate(samples).astype(np.int32), offsets)
    return Tokens(
        ids=ids,
        test=np.zeros(len(samples), bool),
        client=None,
        clients=(),
        labels={},
        label_names={},
        tags={},
        tag_names={},
        targets=None,
        vocabulary=8,
        pad=0,
        cls=1,
        sep=2,
        mask=3,
        fingerprint="",
    )


def test_unigrams_are_smoothed_counts_of_the_samples_that_are_asked_for() -> None:
    logs = unigram(tokens([1, 5, 5, 2], [1, 7, 7, 7, 2], [1, 5, 6, 0, 2]), np.array([0, 2]))
    # three times 5 and once 6; [CLS], [SEP] and [PAD] are never predicted
    expected = [1, 1, 1, 1, 1, 4, 2, 1]
    np.testing.assert_allclose(logs, [math.log(n / 12) for n in expected])


def test_where_the_whole_text_is_predicted_its_ends_count() -> None:
    logs = unigram(tokens([1, 5, 5, 2], [1, 5, 6, 0, 2]), np.array([0, 1]), whole=True)
    np.testing.assert_allclose(logs, [math.log(n / 16) for n in [1, 3, 3, 1, 1, 4, 2, 1]])


def test_without_a_sample_all_tokens_are_alike() -> None:
    np.testing.assert_allclose(unigram(tokens([1, 5, 2]), np.zeros(0, np.int64)), np.full(8, -math.log(8)))
