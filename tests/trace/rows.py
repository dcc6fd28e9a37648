"""Rows of every table for tests, drawn from named streams."""

from typing import Any

import numpy as np

from fedsim.rng import stream
from fedsim.trace.schema import TABLES

WORDS = ("completed", "late", "0 3 7+8", "naïve \u2603", "")


def some_rows(table: str, round_: int, count: int) -> dict[str, Any]:
    """`count` rows of a table, all of one round; nullable numbers have a null and a NaN among them."""
    draws = stream(0, "rows", table, round_)
    columns: dict[str, Any] = {}
    for column in TABLES[table].columns:
        if column.name == TABLES[table].round:
            columns[column.name] = np.full(count, round_)
        elif column.type == "string":
            columns[column.name] = np.array(WORDS, object)[draws.integers(0, len(WORDS), count)]
        elif column.type == "int64":
            columns[column.name] = draws.integers(-(2**62), 2**62, count)
        elif column.type == "bool":
            columns[column.name] = draws.random(count) < 0.5
        elif column.nullable:
            numbers = draws.random(count).tolist()
            columns[column.name] = [*numbers[:-2], None, float("nan")][-count:] if count else []
        else:
            columns[column.name] = draws.random(count)
    return columns
