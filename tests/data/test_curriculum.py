"""Which samples count in a step of a curriculum."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.curriculum import Difficulty, prepare, ranks, select
from fedsim.data.tokens import Ragged, Tokens
from fedsim.data.work import IntArray
from fedsim.scenario.phases import CurriculumStep

PAD, CLS, SEP, MASK = 0, 1, 2, 3


def tokens(rows: list[list[int]], test: list[bool] | None = None, vocabulary: int = 12) -> Tokens:
    values = np.array([value for row in rows for value in row], np.int32)
    ids = Ragged(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))
    held = np.array(test or [False] * len(rows))
    return Tokens(ids, held, None, (), {}, {}, {}, {}, None, vocabulary, PAD, CLS, SEP, MASK, "f" * 64)


ROWS = [[CLS, 5, 5, 5, SEP], [CLS, 6, 5, SEP], [CLS, 7, 8, 6, SEP], [CLS, SEP], [CLS, 9, 9, SEP]]
"""5 is the most frequent of the words, then 6; 7 and 8 follow in the order of their ids."""
SAMPLES = np.arange(5)


def chosen(step: CurriculumStep | None, given: Tokens, samples: IntArray = SAMPLES) -> list[int]:
    lengths = given.ids.lengths[samples]
    return [int(sample) for sample in select(step, samples, lengths, Difficulty.of(given))]


def test_ranks_are_those_of_the_training_samples() -> None:
    held_out = [False, False, False, False, True]
    found = ranks(tokens(ROWS, held_out))
    # 4 times 5, twice 6, once 7 and 8; 9 is in the held-out sample alone, as good as never, like 4, 10 and 11
    assert found[[5, 6, 7, 8, 4, 9, 10, 11]].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found[[PAD, CLS, SEP, MASK]].tolist() == [8, 9, 10, 11]


def test_difficulty_is_the_mean_rank_and_the_rarest() -> None:
    found = Difficulty.of(tokens(ROWS, [False, False, False, False, True]))
    assert found.mean.tolist() == [0.0, 0.5, 2.0, 0.0, 5.0]
    assert found.rarest.tolist() == [0.0, 1.0, 3.0, 0.0, 5.0]


def test_short_samples_come_first() -> None:
    given = tokens(ROWS)
    assert chosen(CurriculumStep(rounds=1, max_tokens=4), given) == [1, 3, 4]
    assert chosen(CurriculumStep(rounds=1, max_tokens=5), given) == [0, 1, 2, 3, 4]
    # a client that has none so short trains on its shortest
    assert chosen(CurriculumStep(rounds=1, max_tokens=3), given, np.array([0, 1, 4])) == [1]


def test_frequent_words_come_first() -> None:
    given = tokens(ROWS)
    by_mean = [CurriculumStep(rounds=1, frequent_words=share) for share in (0.05, 0.4, 0.5, 0.7)]
    assert [chosen(step, given) for step in by_mean] == [[0], [0, 3], [0, 1, 3], [0, 1, 3, 4]]
    # one rare word among frequent ones weighs little in the mean
    uneven = tokens([[5, 5, 5, 8], [6, 7], [5, 5, 6, 6, 7]])
    for words, first in (("mean", 0), ("rarest", 1)):
        step = CurriculumStep.model_validate({"rounds": 1, "frequent_words": 0.34, "words": words})
        assert chosen(step, uneven, np.arange(3)) == [first]


def test_without_a_measure_all_count() -> None:
    assert chosen(CurriculumStep(rounds=1), tokens(ROWS)) == SAMPLES.tolist()
    assert chosen(None, tokens(ROWS)) == SAMPLES.tolist()


def test_declared_samples_are_all_alike() -> None:
    step = CurriculumStep(rounds=1, frequent_words=0.5)
    assert select(step, np.arange(7), np.full(7, 16), None).tolist() == [0, 1, 2, 3]


@given(
    st.lists(st.lists(st.integers(4, 11), min_size=1, max_size=6), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
    st.sampled_from(["mean", "rarest"]),
)
def test_the_easier_half_is_never_harder_than_the_rest(rows: list[list[int]], share: float, words: str) -> None:
    given = tokens([[CLS, *row, SEP] for row in rows])
    samples = np.arange(len(rows))
    hard = getattr(Difficulty.of(given), words)
    kept = chosen(CurriculumStep.model_validate({"rounds": 1, "frequent_words": share, "words": words}), given, samples)
    assert kept == sorted(kept)
    assert len(kept) == max(1, int(share * len(rows) + 0.5))
    left = [i for i in samples if i not in kept]
    assert not left or max(hard[kept]) <= min(hard[left])


def test_difficulty_is_worked_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tokens(ROWS)
    folder = prepare(given, tmp_path)
    wanted, found = Difficulty.of(given), Difficulty.open(folder)
    assert found.mean.tolist() == wanted.mean.tolist()
    assert found.rarest.tolist() == wanted.rarest.tolist()
    monkeypatch.delattr(Difficulty, "of")
    assert prepare(given, tmp_path) == folder
