"""Columns as JSON has them: no NaN, and no digits that nobody can see."""

import json
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DIGITS = 8
"""Of numbers that are not whole; integers keep all of theirs."""


def column(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers; NaN where there is none."""
    values: npt.NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy()
    return values


def plain(values: pa.Array | pa.ChunkedArray | npt.NDArray[Any]) -> list[Any]:
    """Values as JSON has them."""
    return [_plain(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values.to_pylist())]


def encoded(data: Any) -> str:
    """JSON that may stand inside of a page's `<script>`.

    Raises:
        ValueError: there is a number that JSON does not have.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if isfinite(value) else None
    return value
