import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.observe.sparkline import ASCII, BLOCKS, sparkline

NUMBERS = st.lists(st.floats(-1e6, 1e6), max_size=50)


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [
        ([], 8, ""),
        ([3.0], 8, "▅"),
        ([1, 1, 1], 8, "▅▅▅"),
        ([0, 1], 8, "▁█"),
        (list(range(8)), 8, BLOCKS),
        (list(range(16)), 8, BLOCKS),
        ([9, 0, 9, 1], 2, "▁▁"),
    ],
)
def test_curves(values: list[float], width: int, text: str) -> None:
    assert sparkline(values, width) == text


@given(NUMBERS, st.integers(1, 30))
def test_the_last_value_stays_and_lowest_and_highest_are_the_ends(values: list[float], width: int) -> None:
    text = sparkline(values, width)
    assert len(text) == min(len(values), width)
    assert set(text) <= set(BLOCKS)
    if values and min(values) < max(values):
        if values[-1] == max(values):
            assert text[-1] == BLOCKS[-1]
        if values[-1] == min(values):
            assert text[-1] == BLOCKS[0]
    plain = sparkline(values, width, blocks=False)
    assert [ASCII.index(sign) for sign in plain] == [BLOCKS.index(sign) for sign in text]
