"""Columns as files have them, checked and turned into the two types that a corpus is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fedsim.errors import UserError, choose

IDS = pa.list_(pa.int32())


class Kind(StrEnum):
    """What a column must hold. A name is kept as a string, an integer as its digits."""

    text = "text"
    name = "a string or an integer"
    ids = "a list of integers"


@dataclass(frozen=True)
class Column:
    """A column to read."""

    source: str
    """Its name in the file."""
    target: str
    """Its name in the corpus."""
    kind: Kind
    key: str
    """The scenario key that asks for it."""
    classes: tuple[str, ...] = ()
    """Names behind the integers of a `datasets.ClassLabel`; empty: the values are the names."""


@dataclass(frozen=True)
class Origin:
    """Where consecutive rows come from, so that a message can say so."""

    file: Path | str
    first: int = 0
    """Rows of the file before these."""
    lines: Sequence[int] | None = None
    """Line of each row, where the file has lines."""

    def place(self, row: int) -> str:
        """Where a row (counted from 0 here) is, counted as a reader counts: from 1."""
        return f"row {self.first + row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, message: str, row: int, key: str | None = None) -> UserError:
        """A mistake in one of the rows (counted from 0 here)."""
        if self.lines is not None:
            return UserError(message, file=self.file, line=self.lines[row], key=key)
        return UserError(f"{self.place(row)} (the first is 1): {message}", file=self.file, key=key)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows: checked columns by their name in the corpus."""

    columns: Mapping[str, pa.Array]
    origin: Origin


def missing(column: Column, present: Iterable[str], file: Path | str, line: int | None = None) -> UserError:
    """The message about a column that is not there."""
    return UserError(
        f"no column '{column.source}'; {choose(column.source, present)}", file=file, line=line, key=column.key
    )


def from_values(values: list[Any], column: Column, origin: Origin) -> pa.Array:
    """Python values (of JSON or CSV) as an Arrow array.

    Raises:
        UserError: A value is null or of another type; names the line.
    """
    if column.kind is Kind.name:
        values = [str(value) if type(value) is int else value for value in values]
    try:
        # The type comes from the values: a given integer type would cut 1.5 to 1 without a word.
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        array = None
    if array is None or array.null_count or not _fits(array.type, column.kind):
        for row, value in enumerate(values):
            if fault := _fault(value, column.kind):
                raise origin.error(f"column '{column.source}' {fault}", row, column.key)
    return from_arrow(array, column, origin)


def from_arrow(array: pa.Array, column: Column, origin: Origin) -> pa.Array:
    """An Arrow array (of Parquet or of a data set) as the type that the corpus wants.

    Raises:
        UserError: The type is another one, or a value is null; names the row.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()

    def check(wrong: pa.Array, fault: str, rows: pa.Array | None = None) -> None:
        at = pc.index(wrong, True).as_py()
        if at >= 0:
            row = at if rows is None else rows[at].as_py()
            raise origin.error(f"column '{column.source}' {fault}", row, column.key)

    check(array.is_null(), "is null: fill it in, or remove the row")
    if not _fits(array.type, column.kind):
        fault = f"column '{column.source}' must be {column.kind}, it is {array.type}"
        raise UserError(fault, file=origin.file, key=column.key)
    if column.classes:
        check(pc.less(array, 0), "has the class -1, which means unlabelled: choose a split that has labels")
        return pa.array(column.classes).take(array)
    if column.kind is not Kind.ids:
        array = array.cast(pa.string())
        try:
            array.validate(full=True)  # Parquet does not look at what it calls a string
        except pa.ArrowInvalid as error:
            fault = f"column '{column.source}' cannot be read as text ({error})"
            raise UserError(fault, file=origin.file, key=column.key) from None
        if column.kind is Kind.name:
            check(pc.equal(array, ""), "is empty: fill it in, or remove the row")
        return array
    lists = array.cast(pa.list_(array.type.value_type))
    entries, rows = lists.flatten(), pc.list_parent_indices(lists)
    check(entries.is_null(), "has a null entry", rows)
    if pa.types.is_integer(entries.type):
        small = pc.and_(pc.greater_equal(entries, -(2**31)), pc.less(entries, 2**31))
        check(pc.invert(small), "has an entry that does not fit in 32 bits", rows)
    return lists.cast(IDS)


def _fits(kind_of: pa.DataType, kind: Kind) -> bool:
    types = pa.types
    if kind is Kind.ids:
        a_list = types.is_list(kind_of) or types.is_large_list(kind_of) or types.is_fixed_size_list(kind_of)
        return a_list and bool(types.is_integer(kind_of.value_type) or types.is_null(kind_of.value_type))
    a_string = types.is_string(kind_of) or types.is_large_string(kind_of) or types.is_string_view(kind_of)
    return bool(a_string or (kind is Kind.name and types.is_integer(kind_of)))


def _fault(value: Any, kind: Kind) -> str | None:
    if value is None:
        return "is null: fill it in, or remove the line"
    if kind is Kind.ids and isinstance(value, list):
        wrong = [entry for entry in value if type(entry) is not int or not -(2**31) <= entry < 2**31]
        return f"must be {kind} of 32 bits, one entry is {wrong[0]!r}" if wrong else None
    if kind is Kind.ids or not isinstance(value, str):
        return f"must be {kind}, here it is {_described(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no character"
    return None


def _described(value: Any) -> str:
    words = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return f"{words[type(value)]} ({str(value)[:40]})"
