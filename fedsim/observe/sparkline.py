"""A curve in one line of text."""

from collections.abc import Sequence

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"


def sparkline(values: Sequence[float], width: int, *, blocks: bool = True) -> str:
    """The values from lowest to highest as eight heights, evenly thinned out to `width` characters; the last stays.

    Args:
        values: finite numbers; without any the text is empty.
        width: most characters.
        blocks: False where the terminal knows ASCII alone.
    """
    count = min(len(values), width)
    steps = [round((index + 1) * len(values) / count) - 1 for index in range(count)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    signs = BLOCKS if blocks else ASCII
    if low == high:
        return signs[len(signs) // 2] * count
    return "".join(signs[min(int((values[i] - low) / (high - low) * len(signs)), len(signs) - 1)] for i in steps)
