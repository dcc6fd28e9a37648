import numpy as np
import pytest

from fedsim import rng


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# counter, key, output: the known answers of Random123, which is its authors' implementation
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_gives_the_known_answers(counter: str, key: str, output: str) -> None:
    low, high = words(key)
    given = [np.array([word, word], np.uint64) for word in words(counter)]
    assert [word.tolist() for word in rng.philox(given, high << 32 | low)] == [[word, word] for word in words(output)]


def test_a_place_has_its_number_whoever_asks() -> None:
    field = rng.field(7, "weather", 3)
    places = np.arange(20_000)
    everywhere = field.at(places, 17)
    assert everywhere.shape == (4, 20_000)
    some = np.array([19_999, 4, 4, 8191, 8192])
    assert np.array_equal(field.at(some, 17), everywhere[:, some])
    assert np.array_equal(rng.field(7, "weather", 3).at(4, 17), everywhere[:, 4:5])
    assert np.array_equal(field.at(places, 17, 0, 0), everywhere), "what is not said is 0"


def test_every_coordinate_seed_and_name_counts() -> None:
    numbers = [
        rng.field(7, "a").at(1, 2, 3, 4),
        *(rng.field(7, "a").at(*place) for place in ((2, 2, 3, 4), (1, -2, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5))),
        rng.field(8, "a").at(1, 2, 3, 4),
        rng.field(7, "b").at(1, 2, 3, 4),
    ]
    assert len({tuple(number.ravel()) for number in numbers}) == len(numbers)


def test_numbers_are_uniform_and_independent() -> None:
    numbers = rng.field(1, "x").at(np.arange(250_000), 5).ravel()
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    counts = np.histogram(numbers, 100, (0, 1))[0]
    # chi-square with 99 degrees of freedom is above 170 once in 100,000 seeds
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 170
    rows = np.corrcoef(rng.field(1, "x").at(np.arange(250_000), 5))
    assert np.abs(rows - np.eye(4)).max() < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.005
