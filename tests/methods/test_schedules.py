import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.methods.schedules import apportion, named


@given(st.integers(1, 400), st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_parts_add_up_and_are_their_shares_rounded(rounds: int, shares: list[int]) -> None:
    if rounds < len(shares):
        with pytest.raises(ValueError, match="too few"):
            apportion(rounds, shares)
        return
    parts = apportion(rounds, shares)
    assert sum(parts) == rounds
    assert min(parts) >= 1
    exact = [rounds * share / sum(shares) for share in shares]
    if min(exact) >= 1:
        assert all(abs(part - quota) < 1 for part, quota in zip(parts, exact, strict=True))


def test_what_is_left_goes_to_the_largest_fractions() -> None:
    assert apportion(40, [5, 7, 28]) == [5, 7, 28]
    assert apportion(10, [5, 7, 28]) == [1, 2, 7]
    assert apportion(3, [5, 7, 28]) == [1, 1, 1]
    assert apportion(7, [1, 1]) == [4, 3]


def test_names_for_people() -> None:
    assert (named((3,)), named((0, 1, 2))) == ("layer 3", "layers 0-2")
