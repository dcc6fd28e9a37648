from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.rng import stream
from fedsim.selection import Oort, Record, oort

CLIENTS = 200
USED = Oort(exploration=0.0, exploration_least=0.0)
"""Only clients that are known."""


def record(loss: object = 1.0, samples: object = 10, seconds: object = 60.0, last_round: object = 0) -> Record:
    def column(value: object, kind: type) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        return np.broadcast_to(np.asarray(value, kind), (CLIENTS,)).copy()

    return Record(
        column(samples, np.int64),  # type: ignore[arg-type]
        column(loss, np.float64),  # type: ignore[arg-type]
        column(seconds, np.float64),  # type: ignore[arg-type]
        column(last_round, np.int64),  # type: ignore[arg-type]
    )


def often(
    known: Record, wanted: int, options: Oort, round_: int = 5, draws: int = 400
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    picked = [oort(stream(i, "o"), known, round_, wanted, options) for i in range(draws)]
    return np.bincount(np.concatenate(picked), minlength=CLIENTS) / draws


def test_exploration_fades_to_its_least() -> None:
    shares = [Oort().share(round_) for round_ in (0, 1, 54, 55, 1000)]
    assert shares == pytest.approx([0.9, 0.9 * 0.98, 0.9 * 0.98**54, 0.3, 0.3])


def test_at_first_everybody_is_new() -> None:
    picked = oort(stream(1, "o"), record(loss=np.nan), 0, 20, Oort())
    assert len(np.unique(picked)) == 20


def test_new_and_known_ones_are_mixed_as_the_share_says() -> None:
    loss = np.where(np.arange(CLIENTS) < 100, 1.0, np.nan)
    for round_, expected in ((0, 18), (200, 6)):
        picked = oort(stream(1, "o"), record(loss=loss), round_, 20, Oort())
        assert (picked >= 100).sum() == expected
        assert len(np.unique(picked)) == 20
        assert (picked[: 20 - expected] < 100).all()


def test_the_useful_are_picked_and_loss_and_samples_count_alike() -> None:
    loss = np.where(np.arange(CLIENTS) < 40, 5.0, 1.0)
    by_loss = often(record(loss=loss), 10, USED)
    by_size = often(record(samples=np.where(np.arange(CLIENTS) < 40, 50, 10)), 10, USED)
    assert np.array_equal(by_loss, by_size)
    assert by_loss[40:].max() == 0
    assert by_loss[:40].mean() == pytest.approx(0.25)
    assert by_loss[:40].min() > 0.15


def test_extreme_losses_count_as_much_as_the_clip_allows() -> None:
    loss = np.linspace(1.0, 2.0, CLIENTS)
    loss[3] = 1e9
    assert often(record(loss=loss), 10, USED)[3] < 0.9


def test_slow_clients_are_picked_less() -> None:
    seconds = np.where(np.arange(CLIENTS) < 100, 60.0, 600.0)
    found = often(record(seconds=seconds), 50, USED)
    assert found[100:].max() == 0
    mild = often(record(seconds=seconds), 50, replace(USED, penalty=0.0))
    assert mild[100:].mean() == pytest.approx(0.25, abs=0.02)


def test_those_not_seen_for_long_gain() -> None:
    last = np.where(np.arange(CLIENTS) < 40, 0, 90)
    found = often(record(last_round=last), 10, USED, round_=100)
    assert found[:40].mean() == pytest.approx(0.25)


def test_new_ones_with_more_samples_and_shorter_trips_come_first() -> None:
    samples = np.where(np.arange(CLIENTS) < 50, 100, 10)
    found = often(record(loss=np.nan, samples=samples), 10, Oort(), round_=0)
    assert found[50:].max() == 0
    assert found[:50].min() > 0.05
    seconds = np.where(np.arange(CLIENTS) < 60, 60.0, 6000.0)
    assert often(record(loss=np.nan, seconds=seconds), 10, Oort(), round_=0)[60:].max() == 0


def test_unknown_trips_count_as_fast() -> None:
    seconds = np.where(np.arange(CLIENTS) < 50, np.nan, np.linspace(100, 1000, CLIENTS))
    found = often(record(loss=np.nan, seconds=seconds), 10, Oort(), round_=0)
    assert found[:50].mean() > 2 * found[50:].mean()


@given(st.integers(0, 2**16), st.integers(1, 60), st.integers(0, 300), st.floats(0, 1), st.floats(0, 1))
def test_distinct_able_and_as_many_as_can_be(
    seed: int, wanted: int, round_: int, known_share: float, able_share: float
) -> None:
    draw = np.random.default_rng(seed)
    known = draw.random(CLIENTS) < known_share
    able = draw.random(CLIENTS) < able_share
    one = record(
        loss=np.where(known, draw.exponential(1.0, CLIENTS), np.nan),
        samples=draw.integers(0, 30, CLIENTS),
        seconds=np.where(known, draw.exponential(100.0, CLIENTS), np.nan),
        last_round=draw.integers(0, round_ + 1, CLIENTS),
    )
    picked = oort(stream(seed, "o"), one, round_, wanted, Oort(), lambda some: able[some])
    assert len(picked) == len(set(picked.tolist())) == min(wanted, able.sum())
    assert able[picked].all()
    assert np.array_equal(picked, oort(stream(seed, "o"), one, round_, wanted, Oort(), lambda some: able[some]))
