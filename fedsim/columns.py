"""Tables as dataclasses of columns: some of their rows, or the rows of several tables."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

from fedsim.data.work import IntArray

T = TypeVar("T")


def take(table: T, rows: IntArray) -> T:
    """Some rows of a table, in this order; what is not an array of rows, or a table itself, stays."""
    return _each(table, lambda values: values[0][rows], [table])


def join(tables: Sequence[T]) -> T:
    """The rows of tables of one kind, one after the other; what is not an array is that of the first."""
    return tables[0] if len(tables) == 1 else _each(tables[0], np.concatenate, tables)


def _each(first: T, of: Any, tables: Sequence[T]) -> T:
    changed: dict[str, Any] = {}
    assert is_dataclass(first)
    assert not isinstance(first, type)
    for field in fields(first):
        values = [getattr(table, field.name) for table in tables]
        if isinstance(values[0], np.ndarray):
            changed[field.name] = of(values)
        elif is_dataclass(values[0]):
            changed[field.name] = _each(values[0], of, values)
    return replace(first, **changed)
